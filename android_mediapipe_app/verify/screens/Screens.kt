package dev.taskbundler.screens

import android.app.Activity
import android.view.View
import android.widget.EditText
import dev.taskbundler.app.R
import dev.taskbundler.app.compare.CompareActivity
import dev.taskbundler.app.figures.FiguresActivity
import dev.taskbundler.app.library.LibraryActivity
import dev.taskbundler.app.settings.SettingsActivity
import dev.taskbundler.app.teach.TeachActivity
import dev.taskbundler.app.write.TextsActivity
import dev.taskbundler.app.write.WriteActivity
import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.EngineKind
import dev.taskbundler.core.engine.EngineOptions
import dev.taskbundler.core.engine.LoadMarker
import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.fakes.Script
import org.robolectric.Robolectric
import org.robolectric.android.controller.ActivityController
import org.robolectric.shadows.ShadowDialog
import org.robolectric.shadows.ShadowLooper
import java.io.File
import java.util.concurrent.Semaphore

/**
 * One screen as a user may see it: [prepare] brings the app there once, [open] opens the activity, again in each configuration, and
 * [window] is what is looked at.
 */
class Screen(
    val name: String,
    val prepare: () -> Unit = {},
    val open: () -> ActivityController<out Activity>,
    val window: (Activity) -> View = { it.window.decorView },
)

private const val BEGUN = "The history of the lighthouse begins with a fire on a hill. Ships that came home at night"
private val CONTINUED = listOf(" saw", " it", " from", " far", " away,", " and", " the", " keepers", " fed", " it", " until", " the", " morning", ".")
private val PIRATED = listOf(" saw", " it,", " and", " swore", " there", " be", " rum", " on", " the", " island,", " arr", "!")

private fun wrote() = phone.writing.draft.suggestion.endsWith(".") && phone.container.events.state == CompletionState.READY

private fun wroteSome() = phone.writing.draft.hasSuggestion && phone.container.events.state == CompletionState.READY

/** Write [BEGUN] and let the model go on. */
private fun write() {
    fillLibrary()
    Script.pieces = CONTINUED
    phone.writing.edited(BEGUN)
    until("a bundle to be open") { phone.container.events.state == CompletionState.READY }
    phone.writing.complete()
}

private fun writeWith(adapter: String) {
    fillLibrary()
    until("a bundle to be open") { phone.container.events.state == CompletionState.READY }
    phone.writing.chooseBundle(phone.writing.contents.bundles.first { it.name == TASK.name }.id)
    phone.writing.choose(phone.writing.contents.adapters.first { it.name.startsWith(adapter) }.id)
    until("the merge to be done") {
        phone.writing.contents.merged.isNotEmpty() || File(phone.filesDir, "models/merged").list().orEmpty().isNotEmpty()
    }
    until("the copy to be open") { phone.container.events.state == CompletionState.READY }
    phone.writing.edited(BEGUN)
}

/** The bundle that killed the app the last time. */
private fun diedOpening() {
    fillLibrary()
    val bundle = phone.writing.contents.bundles.first()
    LoadMarker(File(phone.filesDir, "tried")).begin(EngineOptions(EngineKind.MEDIAPIPE, bundle.file.path, 96, Backend.GPU), "first answer")
}

private fun compareWith(adapter: String, isDone: Boolean) {
    writeWith(adapter)
    Script.pieces = CONTINUED
    Script.mergedPieces = PIRATED
    if (!isDone) Script.gate = Semaphore(CONTINUED.size / 2)
    // It hears of the texts since its screen was opened first.
    open<CompareActivity>().close()
    phone.comparing.compare(BEGUN, phone.writing.choice!!, phone.writing.contents)
    if (isDone) {
        until("both texts") { phone.comparing.model.adapted.stats != null }
    } else {
        until("half a text") { phone.comparing.model.base.text.length > BEGUN.length / 4 }
    }
}

/** Several texts: a long one, one that is being written, and a blank one that is open. */
private fun writeSeveral() {
    until("the texts to be read") { phone.writing.hasRead }
    for (text in listOf(BEGUN, "Beacons-and-lights.txt\nA list of those that still burn.")) {
        phone.writing.edited(text)
        phone.writing.newText()
    }
    settle()
}

/** Teach the bundle with a trainer in [permits] sequences of 4 × 3, or to the end. */
private fun teach(permits: Int? = null) {
    addTrainer()
    until("a bundle to be open") { phone.container.events.state == CompletionState.READY }
    Script.gate = permits?.let(::Semaphore)
    open<TeachActivity>().close()
    phone.teaching.take(Offered("songs-of-the-southern-islands.txt", BEGUN.repeat(20).toByteArray()))
    settle()
    phone.teaching.steps("3")
    phone.teaching.begin()
    val isThere = if (permits == null) "what was taught" else "a step"
    until(isThere) { phone.teaching.model.let { if (permits == null) it.taught != null else it.progress != null } }
}

private fun lastDialog(): View = ShadowDialog.getLatestDialog().window!!.decorView

private fun writing() = open<WriteActivity>()

private fun library() = open<LibraryActivity>()

val SCREENS: List<Screen> = listOf(
    Screen("first-run", open = ::writing),
    Screen(
        "writing",
        {
            Script.gate = Semaphore(CONTINUED.size / 2)
            write()
            until("half a suggestion") { phone.writing.draft.suggestion.length > 20 }
        },
        ::writing,
    ),
    Screen("suggestion", {
        write()
        until("the suggestion", ::wrote)
    }, ::writing),
    Screen("another", {
        write()
        until("the suggestion", ::wrote)
        phone.writing.retry()
        until("another", ::wrote)
        phone.writing.previous()
    }, ::writing),
    Screen("adapter", { writeWith("pirate") }, ::writing),
    Screen("failure", {
        Script.openFailure = IllegalStateException("Unable to map file to memory buffer")
        phone.writing.edited(BEGUN)
        fillLibrary()
        until("the failure") { phone.container.events.state == CompletionState.FAILED }
    }, ::writing),
    Screen("adapter-dialog", { write() }, {
        writing().also { screen ->
            screen.get().window.decorView.everything().first { it.contentDescription?.contains("pirate") == true }.performLongClick()
            ShadowLooper.idleMainLooper()
        }
    }) { lastDialog() },
    Screen("texts", ::writeSeveral, { open<TextsActivity>() }),
    Screen("text-dialog", ::writeSeveral, {
        open<TextsActivity>().also { screen ->
            screen.get().window.decorView.everything().last { it.id == R.id.delete }.performClick()
            ShadowLooper.idleMainLooper()
        }
    }) { lastDialog() },
    Screen("library-empty", open = ::library),
    Screen("library", {
        writeWith("pirate")
        damage("shouting")
        phone.writing.reload()
        settle()
    }, ::library),
    Screen("library-importing", {
        fillLibrary()
        phone.library.import(listOf(Endless))
        until("the copying") { File(phone.filesDir, "models").walk().any { it.name == "copy" } }
    }, {
        Robolectric.buildActivity(LibraryActivity::class.java).setup().also { ShadowLooper.idleMainLooper() }
    }),
    Screen("library-refused", {
        fillLibrary()
        phone.library.import(listOf(Offered("page.task", "<html>".toByteArray())))
        settle()
    }, ::library),
    Screen("delete-dialog", { writeWith("pirate") }, {
        library().also { screen ->
            screen.get().window.decorView.everything().first { it.id == R.id.delete }.performClick()
            ShadowLooper.idleMainLooper()
        }
    }) { lastDialog() },
    Screen("figures", {
        writeWith("pirate")
        phone.writing.complete()
        until("the text", ::wroteSome)
    }, { open<FiguresActivity>().also { until("the figures", it.get()::hasMeasured) } }),
    Screen("settings", open = { open<SettingsActivity>() }),
    Screen("settings-end", {}, {
        open<SettingsActivity>().also { screen ->
            val decor = screen.get().window.decorView
            decor.everything().filterIsInstance<EditText>().first().let {
                it.requestFocus()
                it.setText("1000000")
                it.clearFocus()
            }
            decor.everything().first { it is android.widget.ScrollView }.scrollTo(0, 100_000)
            ShadowLooper.idleMainLooper()
        }
    }),
    Screen("compare-empty", { fillLibrary() }, { open<CompareActivity>() }),
    Screen("comparing", { compareWith("pirate", isDone = false) }, { open<CompareActivity>() }),
    Screen("compare", { compareWith("pirate", isDone = true) }, { open<CompareActivity>() }),
    Screen("safe-mode", ::diedOpening, ::writing),
    Screen("teach-nothing", { fillLibrary() }, { open<TeachActivity>() }),
    Screen("teach", ::addTrainer, { open<TeachActivity>() }),
    Screen("teach-refused", {
        addTrainer()
        open<TeachActivity>().close()
        phone.teaching.take(Offered("songs-of-the-southern-islands.txt", BEGUN.toByteArray()))
        settle()
        phone.teaching.take(Offered("picture.png", byteArrayOf(-1, -2)))
        settle()
    }, { open<TeachActivity>() }),
    Screen("teaching", { teach(permits = 5) }, { open<TeachActivity>() }),
    Screen("taught", { teach() }, { open<TeachActivity>() }),
    Screen("library-trainer", { teach() }, ::library),
)

/** Overwrite the beginning of a stored file. */
private fun damage(name: String) {
    val file = File(phone.filesDir, "models/adapters").walk().first { it.isFile && it.name.startsWith(name) }
    file.writeBytes(ByteArray(file.length().toInt()))
}
