package dev.taskbundler.screens

import android.app.Activity
import android.app.ActivityManager
import android.app.AlertDialog
import android.app.ApplicationExitInfo
import android.content.ClipData
import android.content.ClipboardManager
import android.content.ComponentCallbacks2
import android.content.Context
import android.content.Intent
import android.graphics.Insets
import android.net.Uri
import android.os.Bundle
import android.text.style.ForegroundColorSpan
import android.view.View
import android.view.View.MeasureSpec.EXACTLY
import android.view.View.MeasureSpec.makeMeasureSpec
import android.view.WindowInsets
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
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
import dev.taskbundler.core.formats.parseJson
import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.fakes.Script
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.shadows.ShadowActivity
import org.robolectric.shadows.ShadowActivityManager.ApplicationExitInfoBuilder
import org.robolectric.shadows.ShadowDialog
import org.robolectric.shadows.ShadowLooper
import java.io.File
import java.lang.ref.WeakReference
import java.util.concurrent.Semaphore
import java.util.concurrent.TimeUnit

/** What Android does to a screen, and the screen keeps. */
@RunWith(RobolectricTestRunner::class)
class LifeTest {
    @get:Rule
    val cleanApp = CleanApp()

    private fun ready() = until("a bundle to be open") { phone.container.events.state == CompletionState.READY }

    private fun field(activity: Activity) = activity.findViewById<EditText>(R.id.text)

    @Test
    fun whatIsWrittenIsInTheViewAndCanBeContinued() {
        fillLibrary()
        ready()
        val screen = open<WriteActivity>().get()
        field(screen).append("The capital of France is")
        screen.tap(R.id.go_on)
        until("the suggestion in the view") { screen.text(R.id.text) == "The capital of France is Paris. It is old." }
        assertTrue(screen.text(R.id.figures).contains(Regex("[0-9]")))
        screen.tap(R.id.accept)
        screen.tap(R.id.undo)
        assertEquals("The capital of France is", screen.text(R.id.text))
    }

    @Test
    fun theFiguresAreThoseOfThisProcessAndGoToAnotherAppAsJson() {
        fillLibrary()
        ready()
        phone.writing.edited("The capital of France is")
        phone.writing.complete()
        val screen = open<FiguresActivity>().get()
        val rows = screen.findViewById<LinearLayout>(R.id.items)
        until("the figures") { screen.hasMeasured() && rows.childCount == 3 }
        screen.tap(R.id.share)
        val sent = shadowOf(screen).nextStartedActivity.getParcelableExtra(Intent.EXTRA_INTENT, Intent::class.java)!!
        val figures = parseJson(sent.getStringExtra(Intent.EXTRA_TEXT)!!.toByteArray())
        val works = figures["figures"]!!.array!!
        assertEquals(listOf("open", "write"), works.map { it["work"]!!.text })
        val held = works.map { it["memory"]!!["resident"]!!.long()!! }
        assertTrue("$held", held.all { it in (1L shl 24)..works[1]["memory"]!!["peak"]!!.long()!! })
        assertEquals(phone.writing.choice!!.bundle.name, works[1]["bundle"]!!.text)
    }

    @Test
    fun aTurnedPhoneShowsTheSame() {
        fillLibrary()
        ready()
        Script.gate = Semaphore(2)
        val screen = open<WriteActivity>()
        field(screen.get()).append("The capital of France is")
        screen.get().tap(R.id.go_on)
        until("two pieces") { screen.get().text(R.id.text).endsWith("Paris.") }
        field(screen.get()).setSelection(3)
        val before = screen.get()
        screen.recreate()
        assertTrue(before !== screen.get())
        assertEquals("The capital of France is Paris.", screen.get().text(R.id.text))
        assertEquals(3, field(screen.get()).selectionEnd)
        Script.gate!!.release(10)
        until("the rest") { screen.get().text(R.id.text).endsWith("old.") }
    }

    @Test
    fun aNewProcessGoesOnWhereTheOldOneEnded() {
        fillLibrary()
        ready()
        val saved = Bundle()
        val screen = open<WriteActivity>()
        field(screen.get()).append("Once upon a time")
        screen.get().tap(R.id.go_on)
        until("the suggestion") { screen.get().text(R.id.text).endsWith("old.") }
        field(screen.get()).setSelection(4)
        screen.saveInstanceState(saved).pause().stop()
        phone.writing.save()
        settle()
        // Another process: a new application, and the activity from what was saved.
        phone.onCreate()
        val after = Robolectric.buildActivity(WriteActivity::class.java).setup(saved)
        until("the draft") { after.get().text(R.id.text).endsWith("old.") }
        assertEquals("Once upon a time", phone.writing.draft.text)
    }

    @Test
    fun whatIsWrittenAtHomeIsThereAfterwards() {
        fillLibrary()
        ready()
        Script.gate = Semaphore(1)
        val screen = open<WriteActivity>()
        field(screen.get()).append("The capital of France is")
        screen.get().tap(R.id.go_on)
        until("a piece") { screen.get().text(R.id.text).endsWith("Paris") }
        screen.pause().stop()
        Script.gate!!.release(10)
        until("the end") { phone.container.events.state == CompletionState.READY && phone.writing.draft.suggestion.endsWith("old.") }
        assertTrue(!screen.get().text(R.id.text).endsWith("old."))
        screen.restart().start().resume()
        settle()
        assertTrue(screen.get().text(R.id.text).endsWith("old."))
    }

    @Test
    fun backLeavesTheTextOnTheDisk() {
        val screen = open<WriteActivity>()
        field(screen.get()).append("A line")
        @Suppress("DEPRECATION")
        screen.get().onBackPressed()
        assertTrue(screen.get().isFinishing)
        screen.close()
        until("the draft on the disk") { phone.filesDir.resolve("texts/1").let { it.exists() && it.readText().endsWith("A line") } }
    }

    @Test
    fun theModelGoesOnAtTheCursor() {
        fillLibrary()
        ready()
        Script.pieces = listOf(" capital", ", old,")
        Script.gate = Semaphore(1)
        val screen = open<WriteActivity>().get()
        field(screen).append("The of France")
        field(screen).setSelection(3)
        screen.tap(R.id.go_on)
        until("a piece") { screen.text(R.id.text) == "The capital of France" }
        assertEquals("The capital".length, field(screen).selectionEnd)
        Script.gate!!.release(10)
        until("the rest") { screen.text(R.id.text) == "The capital, old, of France" }
        val span = field(screen).text.getSpans(0, 99, ForegroundColorSpan::class.java).single()
        assertEquals(3 to 17, field(screen).text.getSpanStart(span) to field(screen).text.getSpanEnd(span))
        screen.tap(R.id.undo)
        assertEquals("The of France", screen.text(R.id.text))
        assertEquals(3, field(screen).selectionEnd)
    }

    @Test
    fun anotherSuggestionKeepsTheOneBefore() {
        fillLibrary()
        ready()
        val screen = open<WriteActivity>().get()
        field(screen).append("The capital of France is")
        screen.tap(R.id.go_on)
        until("the suggestion") { screen.text(R.id.text).endsWith("old.") }
        until("its end") { phone.container.events.state == CompletionState.READY }
        assertFalse(screen.isShown(R.id.previous))
        Script.pieces = listOf(" Lyon", ".")
        screen.tap(R.id.retry)
        until("another") { screen.text(R.id.text).endsWith("Lyon.") && screen.isShown(R.id.previous) }
        screen.tap(R.id.previous)
        assertTrue(screen.text(R.id.text).endsWith("old."))
        screen.tap(R.id.next)
        assertTrue(screen.text(R.id.text).endsWith("is Lyon."))
    }

    private fun titles(screen: Activity) =
        screen.window.decorView.everything().filter { it.id == R.id.title }.map { (it as TextView).text.toString() }

    @Test
    fun aTextIsBegunOpenedAndDeleted() {
        val writing = open<WriteActivity>()
        field(writing.get()).append("First")
        shadowOf(writing.get()).clickMenuItem(R.id.menu_texts)
        assertEquals(TextsActivity::class.java.name, shadowOf(writing.get()).nextStartedActivity.component!!.className)
        val begun = open<TextsActivity>().get()
        assertEquals(listOf("First"), titles(begun))
        begun.tap(R.id.new_text)
        assertTrue(begun.isFinishing)
        writing.pause().stop().restart().start().resume()
        assertEquals("", writing.get().text(R.id.text))
        field(writing.get()).append("Second")
        val list = open<TextsActivity>().get()
        assertEquals(listOf("Second", "First"), titles(list))
        list.window.decorView.labelled(list.getString(R.string.library_delete_description, "Second")).performClick()
        ShadowLooper.idleMainLooper()
        (ShadowDialog.getLatestDialog() as AlertDialog).getButton(AlertDialog.BUTTON_POSITIVE).performClick()
        ShadowLooper.idleMainLooper()
        assertEquals(listOf("First"), titles(list))
        list.window.decorView.labelled(list.getString(R.string.texts_open_description, "First")).performClick()
        assertTrue(list.isFinishing)
        until("one text on the disk") { phone.filesDir.resolve("texts").list().orEmpty().toSet() == setOf("1", "list") }
    }

    @Test
    fun theTextsAreThereAfterATurnAndInANewProcess() {
        until("the texts to be read") { phone.writing.hasRead }
        for (text in listOf("First", "Second")) {
            phone.writing.newText()
            phone.writing.edited(text)
        }
        val saved = Bundle()
        val screen = open<TextsActivity>()
        assertEquals(listOf("Second", "First"), titles(screen.get()))
        val before = screen.get()
        screen.recreate()
        assertTrue(before !== screen.get())
        assertEquals(listOf("Second", "First"), titles(screen.get()))
        screen.saveInstanceState(saved).pause().stop()
        phone.writing.save()
        until("the texts on the disk") { phone.filesDir.resolve("texts").list().orEmpty().size == 3 }
        settle()
        // Another process: the screen is there before the disk has been read.
        phone.onCreate()
        val after = Robolectric.buildActivity(TextsActivity::class.java).setup(saved).get()
        until("the texts") { titles(after) == listOf("Second", "First") }
    }

    @Test
    fun thePickersFilesAreImported() {
        val screen = open<LibraryActivity>().get()
        screen.tap(R.id.pick)
        val asked = shadowOf(screen).nextStartedActivityForResult
        assertEquals(Intent.ACTION_OPEN_DOCUMENT, asked.intent.action)
        assertTrue(asked.intent.getBooleanExtra(Intent.EXTRA_ALLOW_MULTIPLE, false))
        val clip = ClipData.newRawUri("", offer(TASK))
        clip.addItem(ClipData.Item(offer(PIRATE)))
        answer(screen, asked, Intent().apply { clipData = clip })
        until("both files") { phone.container.repository.contents().let { it.bundles.size == 1 && it.adapters.size == 1 } }
        settle()
        assertTrue(
            screen.window.decorView.everything().any {
                it.contentDescription ==
                    screen.getString(R.string.library_delete_description, TASK.name)
            },
        )
    }

    @Test
    fun aPickerThatIsLeftChangesNothing() {
        val screen = open<LibraryActivity>().get()
        screen.tap(R.id.pick)
        shadowOf(screen).receiveResult(shadowOf(screen).nextStartedActivityForResult.intent, Activity.RESULT_CANCELED, null)
        settle()
        assertTrue(phone.container.repository.contents().isEmpty)
    }

    @Test
    fun theEngineGoesWhenMemoryIsShortAndComesBack() {
        fillLibrary()
        ready()
        val screen = open<WriteActivity>().get()
        field(screen).append("The capital of France is")
        phone.onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_BACKGROUND)
        until("the engine to be closed") { Script.open.get() == 0 && phone.container.events.state == CompletionState.IDLE }
        assertTrue(!screen.isShown(R.id.notice))
        screen.tap(R.id.go_on)
        until("the suggestion") { screen.text(R.id.text).endsWith("old.") }
    }

    @Test
    fun theScreenStaysOnWhileTheModelWrites() {
        fillLibrary()
        ready()
        Script.gate = Semaphore(1)
        val screen = open<WriteActivity>().get()
        field(screen).append("The capital of France is")
        assertFalse(field(screen).keepScreenOn)
        screen.tap(R.id.go_on)
        until("a piece") { screen.text(R.id.text).endsWith("Paris") }
        assertTrue(field(screen).keepScreenOn)
        Script.gate!!.release(10)
        until("the end") { !field(screen).keepScreenOn }
    }

    @Test
    fun anAppThatWasSwipedAwayWhileABundleOpenedDidNotCrash() = assertSafeMode(false, ApplicationExitInfo.REASON_USER_REQUESTED)

    @Test
    fun anAppThatDiedWhileABundleOpenedIsToldSo() = assertSafeMode(true, ApplicationExitInfo.REASON_CRASH_NATIVE)

    private fun assertSafeMode(isSafe: Boolean, reason: Int) {
        fillLibrary()
        ready()
        val bundle = phone.writing.contents.bundles.first().file
        LoadMarker(File(phone.filesDir, "tried")).begin(EngineOptions(EngineKind.MEDIAPIPE, bundle.path, 96, Backend.CPU), "open")
        val manager = phone.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager
        shadowOf(manager).addApplicationExitInfo(ApplicationExitInfoBuilder.newBuilder().setReason(reason).build())
        Script.reset()
        phone.onCreate()
        val screen = open<WriteActivity>().get()
        settle()
        assertEquals(isSafe, screen.isShown(R.id.safe_mode))
    }

    @Test
    fun underTheSystemsBarsLiesNothingThatActs() {
        fillLibrary()
        val screen = open<WriteActivity>().get()
        screen.window.setDecorFitsSystemWindows(false)
        val decor = screen.window.decorView
        val bars = WindowInsets.Builder().setInsets(WindowInsets.Type.systemBars(), Insets.of(0, 60, 0, 100)).build()
        decor.dispatchApplyWindowInsets(bars)
        decor.measure(makeMeasureSpec(decor.width, EXACTLY), makeMeasureSpec(decor.height, EXACTLY))
        decor.layout(0, 0, decor.width, decor.height)
        val places = decor.everything().filter { it.isShown && it.isClickable && it.width > 0 }.associateWith { view ->
            IntArray(2).also { view.getLocationInWindow(it) }[1].let { it to it + view.height }
        }
        assertEquals(emptyMap<View, Pair<Int, Int>>(), places.filterValues { (top, bottom) -> top < 60 || bottom > decor.height - 100 })
    }

    @Test
    fun aFirstRunLeadsToThePicker() {
        val screen = open<WriteActivity>().get()
        screen.tap(R.id.choose_bundle)
        val library = Robolectric.buildActivity(LibraryActivity::class.java, shadowOf(screen).nextStartedActivity).setup().get()
        assertEquals(Intent.ACTION_OPEN_DOCUMENT, shadowOf(library).nextStartedActivityForResult.intent.action)
    }

    private fun teach(): ActivityController<TeachActivity> {
        addTrainer()
        ready()
        Script.gate = Semaphore(9)
        val screen = open<TeachActivity>()
        screen.get().findViewById<EditText>(R.id.text).append("Songs of the southern islands, all of them.")
        screen.get().findViewById<EditText>(R.id.steps).setText("7")
        screen.get().tap(R.id.begin)
        until("two steps") { phone.teaching.model.progress?.step == 2 }
        return screen
    }

    @Test
    fun aTurnedPhoneGoesOnTeaching() {
        val screen = teach()
        val before = screen.get()
        screen.recreate()
        assertTrue(before !== screen.get())
        assertTrue(screen.get().text(R.id.progress_text).contains("2 of 7"))
        assertTrue(screen.get().findViewById<View>(R.id.progress).keepScreenOn)
        assertEquals(0, Script.open.get())
        Script.gate!!.release(100)
        until("the result") { screen.get().isShown(R.id.after) }
        assertTrue(screen.get().text(R.id.result).contains("7 of 7"))
        screen.get().findViewById<EditText>(R.id.name).setText("sailor")
        screen.recreate()
        assertEquals("sailor", screen.get().text(R.id.name))
        screen.get().tap(R.id.keep)
        settle()
        assertTrue(phone.container.repository.contents().adapters.any { it.name == "sailor.tflite" && it.isKept })
        assertFalse(screen.get().isShown(R.id.after))
    }

    @Test
    fun littleMemoryEndsTheTeachingAndKeepsTheLastGoodState() {
        val screen = teach()
        phone.onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_BACKGROUND)
        Script.gate!!.release(100)
        until("the result") { screen.get().isShown(R.id.after) }
        assertTrue(screen.get().text(R.id.result).contains(screen.get().getString(R.string.teach_end_memory)))
        // Another process: what was taught and not kept is there.
        screen.close()
        phone.onCreate()
        val after = open<TeachActivity>().get()
        assertEquals(after.getString(R.string.teach_earlier), after.text(R.id.result))
        after.tap(R.id.discard)
        settle()
        assertNull(phone.container.repository.contents().taught)
        assertFalse(after.isShown(R.id.after))
    }

    @Test
    fun theTextToLearnFromComesFromThePicker() {
        addTrainer()
        val screen = open<TeachActivity>().get()
        screen.tap(R.id.choose_text)
        val asked = shadowOf(screen).nextStartedActivityForResult
        assertEquals(Intent.ACTION_OPEN_DOCUMENT, asked.intent.action)
        answer(screen, asked, Intent().setData(offer(Offered("songs.txt", "Ho ho ho".toByteArray()))))
        settle()
        assertTrue(screen.text(R.id.document).contains("songs"))
        screen.tap(R.id.begin)
        until("the refusal") { screen.isShown(R.id.notice) }
        assertEquals(screen.getString(R.string.teach_text_short, 8, 10), screen.text(R.id.notice))
    }

    @Test
    fun theTextIsCopied() {
        val screen = open<WriteActivity>().get()
        field(screen).append("A line")
        shadowOf(screen).clickMenuItem(R.id.menu_copy_text)
        val clipboard = phone.getSystemService(Context.CLIPBOARD_SERVICE) as ClipboardManager
        assertEquals("A line", clipboard.primaryClip!!.getItemAt(0).text.toString())
    }

    @Test
    fun nothingHoldsTheWritingScreen() = assertLetGo(WriteActivity::class.java)

    @Test
    fun nothingHoldsTheLibrary() = assertLetGo(LibraryActivity::class.java)

    @Test
    fun nothingHoldsTheTexts() = assertLetGo(TextsActivity::class.java)

    @Test
    fun nothingHoldsTheComparingScreen() = assertLetGo(CompareActivity::class.java)

    @Test
    fun nothingHoldsTheTeachingScreen() = assertLetGo(TeachActivity::class.java)

    @Test
    fun nothingHoldsTheSettings() = assertLetGo(SettingsActivity::class.java)

    private fun assertLetGo(type: Class<out Activity>) {
        fillLibrary()
        ready()
        val screen = leave(type)
        repeat(COLLECTIONS) {
            // What was to be done a little later has been done then.
            ShadowLooper.idleMainLooper(1, TimeUnit.MINUTES)
            System.gc()
        }
        assertTrue("${type.simpleName} is held after it was left", screen.get() == null)
    }

    /** In a function of its own: a frame that is gone holds nothing. */
    private fun leave(type: Class<out Activity>): WeakReference<Activity> {
        val screen = Robolectric.buildActivity(type).setup()
        settle()
        return WeakReference<Activity>(screen.get()).also { screen.close() }
    }

    private fun answer(screen: Activity, asked: ShadowActivity.IntentForResult, data: Intent) =
        shadowOf(screen).receiveResult(asked.intent, Activity.RESULT_OK, data)

    private fun offer(file: Offered): Uri = Uri.parse("content://files/${file.name}").also {
        shadowOf(phone.contentResolver).registerInputStreamSupplier(it) { file.open() }
    }

    @Test
    fun aFileThatAnotherAppOpensIsImportedOnce() {
        val view = Intent(Intent.ACTION_VIEW, offer(TASK))
        val screen = Robolectric.buildActivity(LibraryActivity::class.java, view).setup()
        until("the bundle") { phone.container.repository.contents().bundles.size == 1 }
        settle()
        phone.container.repository.delete(phone.container.repository.contents().bundles.single())
        screen.recreate()
        settle()
        assertNull(phone.container.repository.contents().bundles.firstOrNull())
    }

    private companion object {
        const val COLLECTIONS = 3
    }
}
