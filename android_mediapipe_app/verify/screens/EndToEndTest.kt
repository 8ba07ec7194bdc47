package dev.taskbundler.screens

import android.app.Activity
import android.text.Editable
import android.text.TextWatcher
import android.widget.EditText
import dev.taskbundler.app.R
import dev.taskbundler.app.compare.CompareActivity
import dev.taskbundler.app.settings.Settings
import dev.taskbundler.app.state.optionsFor
import dev.taskbundler.app.state.requestFor
import dev.taskbundler.app.teach.TeachActivity
import dev.taskbundler.app.write.WriteActivity
import dev.taskbundler.core.engine.Completion
import dev.taskbundler.core.engine.EndReason
import dev.taskbundler.core.engine.EngineFailure
import dev.taskbundler.core.engine.EngineObserver
import dev.taskbundler.core.formats.JsonValue
import dev.taskbundler.core.formats.parseJson
import dev.taskbundler.core.training.TrainingEnd
import dev.taskbundler.core.writing.CompletionState
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.shadows.ShadowLooper
import java.io.File

/**
 * The app with LiteRT-LM itself behind it, see engine_process/: what is typed is continued in the view.
 *
 * The system property `expected` is a JSON file: the prompt, and the texts that `task-bundler run` writes with the files that are packed
 * into the app. `task` is the `.task` of the same build, which is not.
 */
@RunWith(RobolectricTestRunner::class)
class EndToEndTest {
    @get:Rule
    val cleanApp = CleanApp()

    private val expected: JsonValue = parseJson(File(System.getProperty("expected")!!).readBytes())
    private val prompt = expected["prompt"]!!.text!!

    private fun text(of: String) = prompt + expected["texts"]!![of]!!.text!!

    private fun begin(change: (Settings) -> Settings = { it }): Activity {
        phone.container.settings.write(change(Settings(temperature = 0.0, suggestionTokens = 24)))
        // They are packed into the app, which imports them when it is new.
        until("the packed files") { phone.writing.contents.let { it.bundles.size == 1 && it.adapters.size == 2 } }
        val screen = open<WriteActivity>().get()
        idle()
        return screen
    }

    private fun idle() = until("the engine to be ready") { phone.container.events.state == CompletionState.READY }

    private fun field(screen: Activity) = screen.findViewById<EditText>(R.id.text)

    private fun suggestion(screen: Activity) = screen.text(R.id.text).removePrefix(prompt)

    private fun continued(screen: Activity): String {
        screen.tap(R.id.go_on)
        until("a suggestion") { suggestion(screen).isNotEmpty() }
        idle()
        ShadowLooper.idleMainLooper()
        return screen.text(R.id.text)
    }

    private fun assertWritten(expected: String, shown: String) {
        // The engine is stopped when enough is there, some tokens sooner or later.
        val isTheSame = expected.startsWith(shown) || shown.startsWith(expected)
        assertTrue("“$shown” is not how “$expected” begins", isTheSame && shown.length > prompt.length + 20)
    }

    @Test
    fun theTextIsTheCommandLines() {
        val screen = begin()
        field(screen).append(prompt)
        val lengths = LinkedHashSet<Int>()
        field(screen).addTextChangedListener(
            object : TextWatcher {
                override fun beforeTextChanged(text: CharSequence?, start: Int, count: Int, after: Int) = Unit

                override fun onTextChanged(text: CharSequence?, start: Int, before: Int, count: Int) = Unit

                override fun afterTextChanged(text: Editable) {
                    lengths += text.length
                }
            },
        )
        assertWritten(text("base"), continued(screen))
        assertTrue("it came in ${lengths.size} pieces", lengths.size > 10)
    }

    @Test
    fun aTappedAdapterChangesTheVoiceAndBack() {
        val screen = begin()
        field(screen).append(prompt)
        for (voice in listOf("pirate", "shouting", "base")) {
            val chip = if (voice == "base") screen.getString(R.string.base) else "$voice.tflite"
            screen.window.decorView.labelled(chip).performClick()
            assertWritten(text(voice), continued(screen))
            screen.tap(R.id.undo)
        }
        assertNotEquals(text("base"), text("pirate"))
    }

    @Test
    fun bothVoicesSideBySide() {
        val screen = begin { it.copy(suggestionTokens = 200) }
        field(screen).append(prompt)
        screen.window.decorView.labelled("pirate.tflite").performClick()
        val compare = open<CompareActivity>().get()
        // Stopped and begun again at once: the second waits for the end of the first.
        compare.press(R.id.run)
        untilFirst("the first text") { compare.text(R.id.base_text).isNotEmpty() }
        compare.press(R.id.stop)
        compare.press(R.id.run)
        until("both texts") { phone.comparing.model.adapted.stats != null }
        ShadowLooper.idleMainLooper()
        assertWritten(text("base"), prompt + compare.text(R.id.base_text))
        assertWritten(text("pirate"), prompt + compare.text(R.id.adapted_text))
    }

    @Test
    fun comparingWhileWritingWaitsForTheEnd() {
        val screen = begin { it.copy(suggestionTokens = 60) }
        field(screen).append(prompt)
        screen.window.decorView.labelled("pirate.tflite").performClick()
        val compare = open<CompareActivity>().get()
        screen.press(R.id.go_on)
        untilFirst("the first piece") { suggestion(screen).isNotEmpty() }
        // As when the other screen covers it.
        phone.writing.detach(screen as WriteActivity)
        compare.press(R.id.run)
        until("both texts") { phone.comparing.model.adapted.stats != null }
        ShadowLooper.idleMainLooper()
        assertWritten(text("pirate"), prompt + compare.text(R.id.adapted_text))
    }

    @Test
    fun aStoppedTextStays() {
        val screen = begin { it.copy(suggestionTokens = 200) }
        field(screen).append(prompt)
        screen.press(R.id.go_on)
        untilFirst("the first piece") { suggestion(screen).isNotEmpty() }
        screen.press(R.id.stop)
        idle()
        ShadowLooper.idleMainLooper()
        val shown = screen.text(R.id.text)
        assertTrue("“$shown”", text("base").startsWith(shown) && shown.length > prompt.length)
    }

    @Test
    fun aFullContextIsAnEndAndTheEngineGoesOn() {
        begin()
        val heard = Heard().also { phone.container.events.listeners += it }
        val settings = phone.container.settings.read()
        val choice = phone.writing.choice!!
        phone.container.controller.open(optionsFor(choice, settings, choice.bundle, length = 64))
        // The app asks for no more than there is room for; an engine may run into its end all the same.
        for (attempt in 0..1) {
            phone.container.controller.generate(requestFor(choice, settings, prompt, attempt).copy(windowTokens = 60, outputTokens = 1000))
            until("the end") { heard.ends.size > attempt || heard.failures.isNotEmpty() }
        }
        assertEquals(emptyList<EngineFailure>(), heard.failures)
        assertEquals(listOf(EndReason.FULL, EndReason.FULL), heard.ends.map { it.reason })
        assertTrue(text("base").startsWith(prompt + heard.ends[0].text))
        assertEquals(CompletionState.READY, phone.container.events.state)
    }

    @Test
    fun aTextLongerThanItsEstimateIsShortenedUntilTheEngineTakesIt() {
        begin()
        val heard = Heard().also { phone.container.events.listeners += it }
        val settings = phone.container.settings.read()
        val choice = phone.writing.choice!!
        // Nothing counts the tokens of a .task in LiteRT-LM. These words have more than one in two letters.
        val options = optionsFor(choice, settings, choice.bundle, length = 64)
        val task = options.copy(modelPath = System.getProperty("task")!!, loraRanks = emptyList(), zeroAdapterPath = null)
        phone.container.controller.open(task)
        val request = requestFor(choice, settings, "qzxjkvwb ".repeat(50), attempt = 0)
        phone.container.controller.generate(request.copy(windowTokens = 60, outputTokens = 8))
        until("the end") { heard.ends.isNotEmpty() || heard.failures.isNotEmpty() }
        assertEquals(emptyList<EngineFailure>(), heard.failures)
        val tries = heard.log.count { "longer than estimated" in it }
        assertTrue("it was tried ${tries + 1} times: ${heard.ends}", tries in 1..4)
        assertEquals(EndReason.LIMIT, heard.ends.single().reason)
        assertTrue(heard.ends.single().text.isNotBlank())
    }

    @Test
    fun whatIsTaughtInFiveStepsIsKeptAndWritesBesideTheModel() {
        val screen = begin()
        until("the trainer") { phone.writing.contents.trainers.size == 1 }
        val teach = open<TeachActivity>().get()
        teach.findViewById<EditText>(R.id.text).setText("Ahoy, matey! This be the log of a ship, arr.\n".repeat(40))
        teach.findViewById<EditText>(R.id.steps).setText("5")
        teach.tap(R.id.begin)
        until("what was taught") { phone.teaching.model.taught != null }
        val lesson = phone.teaching.model.taught!!.lesson!!
        assertEquals(5 to TrainingEnd.DONE, lesson.steps to lesson.end)
        assertTrue("${lesson.before} to ${lesson.after}", lesson.after!! < 0.9 * lesson.before!!)
        teach.findViewById<EditText>(R.id.name).setText("sailor")
        teach.tap(R.id.keep)
        until("the adapter") { phone.writing.contents.adapters.any { it.name == "sailor.tflite" && it.isKept } }
        field(screen).append(prompt)
        ShadowLooper.idleMainLooper()
        screen.window.decorView.labelled("sailor.tflite").performClick()
        continued(screen)
        assertTrue(suggestion(screen).isNotBlank())
        assertNotEquals(text("base").take(screen.text(R.id.text).length), screen.text(R.id.text))
    }

    @Test
    fun aLongTextIsSentByItsEnd() {
        val screen = begin()
        field(screen).append("${"12 345,67; x[i] = {0x1F: 'ção'} — ".repeat(60)}\n\n$prompt")
        screen.tap(R.id.go_on)
        until("a suggestion") { phone.writing.draft.suggestion.isNotEmpty() }
        idle()
    }
}

/** What is said of generations. */
private class Heard : EngineObserver {
    val ends = ArrayList<Completion>()
    val failures = ArrayList<EngineFailure>()
    val log = ArrayList<String>()

    override fun onFinished(id: Long, completion: Completion) {
        ends += completion
    }

    override fun onFailed(id: Long?, failure: EngineFailure) {
        failures += failure
    }

    override fun onLog(line: String) {
        log += line
    }
}
