package dev.taskbundler.screens

import android.app.Activity
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import android.widget.TextView
import dev.taskbundler.app.R
import dev.taskbundler.app.WriterApplication
import dev.taskbundler.app.figures.FiguresActivity
import dev.taskbundler.core.adapter.AdapterBuilder
import dev.taskbundler.core.catalogue.ImportSource
import dev.taskbundler.core.catalogue.Stored
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.Progress
import dev.taskbundler.core.litertlm.HF_TOKENIZER
import dev.taskbundler.core.litertlm.LitertLmBuilder
import dev.taskbundler.core.litertlm.Section
import dev.taskbundler.core.litertlm.foldedTokenizer
import dev.taskbundler.core.task.BundleBuilder
import dev.taskbundler.core.training.TrainerBuilder
import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.fakes.Script
import org.junit.rules.ExternalResource
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.shadows.ShadowLooper
import java.io.InputStream

/** The app in a process of its own, as Robolectric has begun it. */
val phone: WriterApplication get() = RuntimeEnvironment.getApplication() as WriterApplication

/** Let the app's threads work until [isSo], and the main thread do all that it has been given. */
fun until(what: String, isSo: () -> Boolean) = wait(what, isSo) { ShadowLooper.idleMainLooper() }

/** Until [isSo], and no longer: an engine that writes faster than views are drawn would be at its end when all is done that was given. */
fun untilFirst(what: String, isSo: () -> Boolean) = wait(what, isSo) {
    if (!shadowOf(Looper.getMainLooper()).isIdle) ShadowLooper.runMainLooperOneTask()
}

private fun wait(what: String, isSo: () -> Boolean, work: () -> Unit) {
    val end = System.nanoTime() + PATIENCE_NANOS
    do {
        work()
        if (isSo()) return
        if (shadowOf(Looper.getMainLooper()).isIdle) Thread.sleep(1)
    } while (System.nanoTime() < end)
    val engine = phone.container.events.state
    throw AssertionError("waited in vain for: $what; the engine is $engine, the last calls were ${Script.calls.takeLast(4)}")
}

/** Let the thread for files and the screen's do what they have been given. */
fun settle() = repeat(ROUNDS) {
    var isThrough = false
    phone.container.files.post { isThrough = true }
    until("the thread for files") { isThrough }
    shadowOf(Looper.getMainLooper()).idle()
}

/**
 * Begins a test with the fakes as they are at first, and leaves nothing behind that still works at its end: it would meet the next test's
 * app in the same fakes, and on the same main thread.
 */
class CleanApp : ExternalResource() {
    override fun before() {
        Endless.isOver = false
        Script.reset()
    }

    override fun after() {
        Endless.isOver = true
        Script.gate?.release(ENOUGH)
        phone.library.cancelImport()
        phone.comparing.stop()
        phone.teaching.stop()
        until("the end of the teaching") { !phone.teaching.model.isBusy }
        settle()
        phone.container.controller.close()
        until("the engine to be closed") { phone.container.events.state == CompletionState.IDLE }
        settle()
    }
}

inline fun <reified T : Activity> open(): ActivityController<T> = Robolectric.buildActivity(T::class.java).setup().also { settle() }

fun <T : Activity> ActivityController<T>.close() {
    pause().stop().destroy()
    ShadowLooper.idleMainLooper()
}

fun Activity.text(id: Int): String = findViewById<TextView>(id).text.toString()

fun Activity.isShown(id: Int): Boolean = findViewById<View>(id).isShown

/** Tap, and let the main thread do what follows from it. */
fun Activity.tap(id: Int) {
    press(id)
    shadowOf(Looper.getMainLooper()).idle()
}

/** Whether the screen of figures says what the app takes now. */
fun FiguresActivity.hasMeasured() = findViewById<View>(R.id.share).isEnabled

fun Activity.press(id: Int) {
    val view = findViewById<View>(id)
    check(view.isShown && view.isEnabled) {
        "${resources.getResourceEntryName(id)} cannot be tapped: shown ${view.isShown}, enabled ${view.isEnabled}"
    }
    view.performClick()
}

/** The view with this text or this description, wherever it is. */
fun View.labelled(text: String): View = checkNotNull(
    everything().find {
        (it is TextView && it.text.toString() == text) ||
            it.contentDescription == text
    },
) {
    "no view says “$text”, only ${everything().filterIsInstance<TextView>().map { it.text }}"
}

/** This view and all below it. */
fun View.everything(): List<View> =
    listOf(this) + if (this is ViewGroup) (0 until childCount).flatMap { getChildAt(it).everything() } else emptyList()

/** A file that a picker offers. */
class Offered(override val name: String, private val bytes: ByteArray) : ImportSource {
    override val size get() = bytes.size.toLong()

    override fun open(): InputStream = bytes.inputStream()
}

/** A file that comes to no end before [isOver]. */
object Endless : ImportSource {
    override val name = "a-bundle-with-quite-a-long-name-124M-int8.task"
    override val size = 4_000_000_000L

    @Volatile
    var isOver = false

    override fun open() = object : InputStream() {
        private var left = 1_000_000

        override fun read(): Int {
            while (left == 0 && !isOver) Thread.sleep(20)
            if (isOver) return -1
            left--
            return 0
        }
    }
}

fun import(source: ImportSource): Stored = phone.container.repository.import(source, null, Progress.NONE, CancelSignal())

// Small files with all that the app reads in them, and no model.
val TASK = Offered("sample-124M-int8.task", BundleBuilder().build())
val LITERTLM = Offered("sample-124M-int8.litertlm", LitertLmBuilder().build())
private val TEACHABLE = Offered("sample-124M-int8.litertlm", LitertLmBuilder(withTokenizer(LitertLmBuilder().sections)).build())
val TRAINER = Offered("sample-124M-int8-trainer.tflite", TrainerBuilder().build())
val PIRATE = Offered("pirate.tflite", AdapterBuilder().build())
val SHOUTING = Offered("shouting.tflite", AdapterBuilder(value = { _, index -> index / 9f }).build())

/** [sections] with a tokenizer whose tokens are letters. */
private fun withTokenizer(sections: List<Section>): List<Section> {
    val letters = (('!'..'~') + 'Ġ').filter { it !in "\"\\" }.withIndex().joinToString { (id, letter) -> "\"$letter\": $id" }
    val tokenizer = "{\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {$letters}}}"
    return sections.map { if (it.type == HF_TOKENIZER) Section(HF_TOKENIZER, foldedTokenizer(tokenizer, tokenizer.toByteArray().size)) else it }
}

/** Import a bundle of each kind and two adapters. */
fun fillLibrary(litertLm: Offered = LITERTLM) {
    // The app clears leftovers when it begins, and would take the files for some.
    settle()
    listOf(TASK, litertLm, PIRATE, SHOUTING).forEach(::import)
    phone.writing.reload()
    settle()
}

/** The same, and a trainer, whose bundle is then chosen. */
fun addTrainer() {
    fillLibrary(TEACHABLE)
    import(TRAINER)
    phone.writing.reload()
    settle()
    phone.writing.chooseBundle(phone.writing.contents.bundles.first { it.name == TASK.name }.id)
}

// Long, because the machine may do other things too; what is waited for takes a second or two.
private const val PATIENCE_NANOS = 180_000_000_000
private const val ROUNDS = 3

/** More than any text has pieces. */
private const val ENOUGH = 1000
