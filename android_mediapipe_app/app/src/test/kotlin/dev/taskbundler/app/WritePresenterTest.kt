package dev.taskbundler.app

import dev.taskbundler.app.state.Contents
import dev.taskbundler.app.state.Notice
import dev.taskbundler.app.write.Desk
import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.EngineKind
import dev.taskbundler.core.engine.EngineOptions
import dev.taskbundler.core.engine.FailureKind
import dev.taskbundler.core.engine.LoadMarker
import dev.taskbundler.core.engine.RefusalReason
import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.core.writing.Manuscript
import dev.taskbundler.core.writing.Texts
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class WritePresenterTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val bench by lazy {
        Bench(folder.root).apply {
            repository.contents = Contents(listOf(bundle("a.task"), bundle("b.task")), listOf(adapter("pirate"), adapter("shout")))
        }
    }

    private fun started() = bench.start().writing

    private val writing get() = bench.writing
    private val opened get() = bench.apply { settle() }.engine.opened
    private val merges get() = bench.apply { settle() }.repository.merges

    @Test
    fun `the first bundle is opened at the start, with the base chosen`() {
        started()
        assertEquals(listOf("/models/a.task"), opened.map { it.modelPath })
        assertEquals(CompletionState.READY, bench.shown.state)
        assertEquals(listOf(true, false, false), bench.shown.adapters.map { it.isChosen })
        assertTrue(bench.shown.canContinue)
    }

    @Test
    fun `a suggestion grows, is accepted and taken back`() {
        started()
        writing.edited("Once")
        writing.complete()
        bench.engine.write(" upon", " a time.")
        assertEquals("Once upon a time.", bench.shown.manuscript.shown)
        assertEquals(" upon a time.", bench.shown.spoken)
        assertTrue(bench.shown.canStop)
        bench.engine.end()
        assertFalse(bench.shown.canStop)
        assertEquals(5L, bench.shown.figures?.memoryBytes)
        writing.accept()
        assertEquals("Once upon a time.", bench.shown.manuscript.text)
        writing.undo()
        assertEquals("Once", bench.shown.manuscript.shown)
    }

    @Test
    fun `continuing takes the suggestion that is there`() {
        started()
        writing.edited("Once")
        writing.complete()
        bench.engine.write(" upon")
        bench.engine.end()
        writing.complete()
        bench.settle()
        assertEquals(listOf("Once", "Once upon"), bench.engine.prompts)
    }

    @Test
    fun `another suggestion is drawn with another seed, from the same text`() {
        started()
        writing.edited("Once")
        writing.complete()
        bench.engine.write(" upon")
        bench.engine.end()
        writing.retry()
        bench.engine.write(" more")
        bench.engine.end()
        assertEquals("Once more", bench.shown.manuscript.shown)
        assertEquals(listOf("Once", "Once"), bench.engine.prompts)
        assertEquals(listOf(0, 1), bench.engine.samplings.map { it.seed })
    }

    @Test
    fun `typing while the model writes keeps what is on the screen, and ignores what still comes`() {
        started()
        writing.edited("Once")
        writing.complete()
        bench.engine.write(" upon")
        writing.edited("Once upon!")
        bench.engine.write(" late")
        bench.engine.end()
        assertEquals("Once upon!", bench.shown.manuscript.shown)
        assertEquals("Once upon!", bench.shown.manuscript.text)
    }

    @Test
    fun `stop keeps what was written`() {
        started()
        writing.edited("Once")
        writing.complete()
        bench.engine.write(" upon")
        writing.stop()
        bench.settle()
        assertTrue(bench.engine.isCancelled)
        bench.engine.end()
        assertEquals("Once upon", bench.shown.manuscript.shown)
        assertTrue(bench.shown.canContinue)
    }

    @Test
    fun `an adapter is merged into a copy, which is opened, and not merged again`() {
        started()
        writing.choose("pirate")
        assertEquals(listOf("a.task+pirate"), merges)
        assertEquals(CompletionState.READY, bench.shown.state)
        writing.edited("Once")
        repeat(2) {
            writing.complete()
            bench.engine.write(" upon")
            bench.engine.end()
        }
        assertEquals(2, opened.size)
        writing.choose(null)
        writing.choose("pirate")
        assertEquals(4, opened.size)
        assertEquals(1, merges.size)
    }

    @Test
    fun `an adapter chosen during an answer waits for its end`() {
        started()
        writing.edited("Once")
        writing.complete()
        bench.engine.write(" upon")
        writing.choose("pirate")
        assertFalse(bench.engine.isCancelled)
        assertTrue(merges.isEmpty())
        bench.engine.write(" a")
        bench.engine.end()
        assertEquals("Once upon a", bench.shown.manuscript.shown)
        assertEquals(1, merges.size)
    }

    @Test
    fun `with native LoRA on the GPU the adapter is handed to the engine`() {
        bench.container.settings.run { write(read().copy(nativeLora = true, backend = Backend.GPU)) }
        started()
        writing.edited("Once")
        writing.choose("pirate")
        writing.complete()
        bench.engine.end()
        writing.choose(null)
        writing.complete()
        bench.settle()
        assertEquals(listOf("/models/pirate", null), bench.engine.adapters)
        assertEquals(listOf(16), opened.single().loraRanks)
        assertTrue(merges.isEmpty())
    }

    @Test
    fun `an adapter of a rank that the bundle has no signatures for is merged all the same`() {
        bench.repository.contents = Contents(listOf(bundle("a.task", ranks = listOf(32))), listOf(adapter("pirate", 16)))
        bench.container.settings.run { write(read().copy(nativeLora = true, backend = Backend.GPU)) }
        started().choose("pirate")
        assertEquals(1, merges.size)
    }

    @Test
    fun `an adapter that does not fit is not offered`() {
        val misfit = Finding(FindingCode.APP_ADAPTER_OTHER_BASE, emptyMap(), "other")
        bench.repository.contents = bench.repository.contents.copy(misfits = mapOf(("pirate" to "a.task") to misfit))
        started()
        assertEquals(listOf(null, "shout"), bench.shown.adapters.map { it.id })
    }

    @Test
    fun `another bundle drops an adapter that does not fit it`() {
        val misfit = Finding(FindingCode.APP_ADAPTER_OTHER_BASE, emptyMap(), "other")
        bench.repository.contents = bench.repository.contents.copy(misfits = mapOf(("pirate" to "b.task") to misfit))
        started()
        writing.choose("pirate")
        writing.chooseBundle("b.task")
        assertEquals("/models/b.task", opened.last().modelPath)
        assertTrue(bench.shown.adapters.first().isChosen)
    }

    @Test
    fun `a merge that has no room says so in the finding's words`() {
        bench.repository.mergeFailure = FindingException(Finding(FindingCode.APP_STORAGE_FULL, mapOf("needed" to 9L, "free" to 1L), "no room"))
        started().choose("pirate")
        assertEquals(FindingCode.APP_STORAGE_FULL, (bench.shown.notice as Notice.Found).finding.code)
        assertEquals(CompletionState.FAILED, bench.shown.state)
        assertTrue(bench.shown.canContinue)
    }

    @Test
    fun `a merge can be stopped`() {
        started()
        bench.repository.whileMerging = { writing.stop() }
        writing.choose("pirate")
        assertEquals(CompletionState.IDLE, bench.shown.state)
        bench.repository.whileMerging = {}
        writing.edited("Once")
        writing.complete()
        assertEquals(CompletionState.GENERATING, bench.shown.state)
    }

    @Test
    fun `what was stopped or failed is not begun again by coming back to the screen`() {
        started()
        bench.repository.whileMerging = { it.cancel() }
        writing.choose("pirate")
        writing.start()
        assertEquals(1, merges.size)
        assertEquals(CompletionState.IDLE, bench.shown.state)
        bench.repository.whileMerging = {}
        writing.edited("Once")
        writing.complete()
        assertEquals(CompletionState.GENERATING, bench.shown.state)
    }

    @Test
    fun `the text is on the disk before the engine is asked`() {
        started()
        writing.edited("Once")
        var before: String? = null
        bench.engine.onGenerate = { before = bench.desks.read().texts.open.manuscript.text }
        writing.complete()
        bench.settle()
        assertEquals("Once", before)
    }

    @Test
    fun `a bundle that cannot be opened stays told, not covered by what follows from it`() {
        bench.engine.openFailure = IllegalStateException("Unable to open zip archive")
        started()
        writing.edited("Once")
        writing.complete()
        assertEquals(FailureKind.TRUNCATED_FILE, (bench.shown.notice as Notice.Failed).failure.kind)
        assertEquals("Once", bench.shown.manuscript.text)
    }

    @Test
    fun `a fault in the middle keeps the text, and the next try opens the engine again`() {
        started()
        writing.edited("Once")
        writing.complete()
        bench.engine.write(" upon")
        bench.engine.fault(IllegalStateException("out of memory"))
        assertEquals("Once upon", bench.shown.manuscript.shown)
        assertEquals(FailureKind.OUT_OF_MEMORY, (bench.shown.notice as Notice.Failed).failure.kind)
        writing.retry()
        assertEquals(CompletionState.GENERATING, bench.shown.state)
        assertEquals(2, opened.size)
    }

    @Test
    fun `a listed word is not sent`() {
        bench.container.settings.run { write(read().copy(words = "darn")) }
        started()
        writing.edited("Darn it")
        writing.complete()
        val refusal = (bench.shown.notice as Notice.Refused).refusal
        assertEquals(RefusalReason.LISTED_WORD to "Darn", refusal.reason to refusal.detail)
        assertTrue(bench.engine.prompts.isEmpty())
        writing.edited("Fine")
        writing.complete()
        bench.engine.write(" darn", " it")
        bench.engine.end()
        assertEquals("Fine ••• it", bench.shown.manuscript.shown)
    }

    @Test
    fun `a model that ends at once says so`() {
        started()
        writing.edited("Once")
        writing.complete()
        bench.engine.end()
        assertEquals(Notice.NothingWritten, bench.shown.notice)
    }

    @Test
    fun `without a bundle it tells what to do`() {
        bench.repository.contents = Contents()
        started()
        writing.complete()
        assertEquals(Notice.NoBundle, bench.shown.notice)
        bench.repository.contents = Contents(listOf(bundle("a.task")))
        writing.reload()
        assertTrue(bench.shown.canContinue)
    }

    @Test
    fun `text, suggestion and choice outlive the process`() {
        started()
        writing.chooseBundle("b.task")
        writing.choose("shout")
        writing.edited("Once\nupon")
        writing.complete()
        bench.engine.write(" a time")
        writing.save()
        bench.settle()
        val next = Bench(folder.root).apply { repository.contents = bench.repository.contents }.start()
        assertEquals("Once\nupon", next.shown.manuscript.text)
        assertEquals(" a time", next.shown.manuscript.suggestion)
        assertEquals(listOf("b.task"), next.shown.bundles.filter { it.isChosen }.map { it.id })
        assertEquals(listOf("shout"), next.shown.adapters.filter { it.isChosen }.map { it.id })
    }

    @Test
    fun `turning the phone shows the same again`() {
        started()
        writing.edited("Once")
        writing.complete()
        bench.engine.write(" upon")
        val before = bench.shown
        var again = before.copy(spoken = "x")
        writing.attach { again = it }
        assertEquals(before, again)
        bench.engine.write(" a")
        assertEquals("Once upon a", again.manuscript.shown)
    }

    @Test
    fun `what killed the app is not tried again by itself`() {
        LoadMarker(bench.markerFile).begin(EngineOptions(EngineKind.MEDIAPIPE, "/models/a.task", 256, Backend.GPU), "open")
        bench.container.settings.run { write(read().copy(backend = Backend.GPU)) }
        val again = Bench(folder.root).apply {
            repository.contents = bench.repository.contents
            values.map += bench.values.map
        }.start()
        assertTrue(again.engine.opened.isEmpty())
        assertEquals("open", (again.shown.notice as Notice.SafeMode).unfinished.step)
        again.writing.leaveSafeMode(onCpu = true)
        again.settle()
        assertEquals(Backend.CPU, again.engine.opened.single().backend)
        assertFalse(again.shown.notice is Notice.SafeMode)
    }

    @Test
    fun `what is deleted is closed first, and no longer chosen`() {
        started()
        writing.release(bench.repository.contents.bundles.first())
        assertEquals(CompletionState.IDLE, bench.shown.state)
        assertNull(writing.desk.bundleId)
    }

    @Test
    fun `a text compared elsewhere comes as a suggestion`() {
        started()
        writing.edited("Once")
        writing.suggest(" upon")
        assertEquals(Desk(Texts().changed(Manuscript("Once", " upon")), "a.task", null), writing.desk)
    }

    private fun written(text: String, suggestion: String) {
        writing.edited(text)
        writing.complete()
        bench.engine.write(suggestion)
        bench.engine.end()
    }

    private fun shownTexts() = writing.desk.texts.all.map { it.manuscript.shown }

    private fun idOf(shown: String) = writing.desk.texts.all.first { it.manuscript.shown == shown }.id

    @Test
    fun `several texts are kept apart, each with its suggestion and what can be taken back`() {
        started()
        written("Once", " upon")
        writing.newText()
        assertEquals("", bench.shown.manuscript.shown)
        written("Twice", " more")
        writing.accept()
        assertEquals(listOf("Twice more", "Once upon"), shownTexts())
        writing.openText(idOf("Once upon"))
        assertEquals(Manuscript("Once", " upon"), bench.shown.manuscript)
        writing.openText(idOf("Twice more"))
        writing.undo()
        assertEquals("Twice", bench.shown.manuscript.shown)
    }

    @Test
    fun `another text ends what is being written, and keeps it`() {
        started()
        writing.edited("Once")
        writing.complete()
        bench.engine.write(" upon")
        writing.newText()
        assertTrue(bench.apply { settle() }.engine.isCancelled)
        bench.engine.write(" late")
        bench.engine.end()
        assertEquals(listOf("", "Once upon"), shownTexts())
        writing.edited("Twice")
        writing.complete()
        bench.settle()
        assertEquals("Twice", bench.engine.prompts.last())
    }

    @Test
    fun `a text that is deleted is gone from the disk, and another is open`() {
        started()
        writing.edited("Once")
        writing.newText()
        writing.edited("Twice")
        writing.deleteText(idOf("Once"))
        assertEquals("Twice", bench.shown.manuscript.shown)
        writing.deleteText(idOf("Twice"))
        assertEquals("", bench.shown.manuscript.shown)
        writing.save()
        bench.settle()
        assertEquals(listOf(""), bench.desks.read().texts.all.map { it.manuscript.shown })
        assertEquals(2, folder.root.resolve("texts").list()!!.size)
    }

    @Test
    fun `all texts outlive the process, and the open one is open`() {
        started()
        writing.edited("Once")
        writing.newText()
        writing.edited("Twice")
        writing.newText()
        writing.edited("Thrice")
        writing.openText(idOf("Once"))
        bench.settle()
        val next = Bench(folder.root).apply { repository.contents = bench.repository.contents }.start()
        assertEquals(listOf("Once", "Thrice", "Twice"), next.writing.desk.texts.all.map { it.manuscript.shown })
        assertEquals("Once", next.shown.manuscript.shown)
    }

    @Test
    fun `what is written before the texts are read is a text of its own`() {
        bench.desks.write(Desk(Texts().changed(Manuscript("Once"))))
        // The disk is slower than the writer.
        bench.container.screen.execute { bench.unsettled.edited("Twice") }
        bench.container.screen.execute { bench.unsettled.save() }
        started()
        assertEquals(listOf("Twice", "Once"), shownTexts())
        writing.save()
        bench.settle()
        assertEquals(listOf("Twice", "Once"), bench.desks.read().texts.all.map { it.manuscript.shown })
    }

    @Test
    fun `the model goes on at the cursor, and what stands behind it stays`() {
        started()
        writing.edited("The of France is old.")
        writing.complete(cursor = 3)
        bench.engine.write(" capital")
        assertEquals("The capital of France is old.", bench.shown.manuscript.shown)
        assertEquals("The of France is old.", bench.shown.manuscript.text)
        bench.engine.end()
        writing.retry()
        bench.engine.write(" city")
        bench.engine.end()
        assertEquals("The city of France is old.", bench.shown.manuscript.shown)
        // From the end of the suggestion, where the cursor is by then.
        writing.complete(cursor = 8)
        bench.engine.write(",")
        bench.engine.end()
        assertEquals("The city, of France is old.", bench.shown.manuscript.shown)
        assertEquals(listOf("The", "The", "The city"), bench.engine.prompts)
        writing.undo()
        writing.undo()
        assertEquals("The of France is old.", bench.shown.manuscript.shown)
    }

    @Test
    fun `a suggestion at the cursor outlives the process`() {
        started()
        writing.edited("The of France is old.")
        writing.complete(cursor = 3)
        bench.engine.write(" capital")
        bench.engine.end()
        val next = Bench(folder.root).apply { repository.contents = bench.repository.contents }.start()
        assertEquals(Manuscript("The of France is old.", " capital", place = 3), next.shown.manuscript)
    }

    @Test
    fun `words at the end of a suggestion do not run into those behind it`() {
        started()
        writing.edited("It is or Rome")
        writing.complete(cursor = 6)
        bench.engine.write("Paris")
        bench.engine.end()
        assertEquals("It is Paris or Rome", bench.shown.manuscript.shown)
    }

    @Test
    fun `another suggestion keeps the one before it within reach, in another voice too`() {
        started()
        written("Once", " upon")
        assertFalse(bench.shown.canGoBack || bench.shown.canGoForth)
        writing.choose("pirate")
        writing.retry()
        bench.engine.write(" arr")
        assertFalse(bench.shown.canGoBack)
        writing.previous()
        assertEquals("Once arr", bench.shown.manuscript.shown)
        bench.engine.end()
        assertTrue(bench.shown.canGoBack)
        writing.previous()
        assertEquals("Once upon", bench.shown.manuscript.shown)
        assertEquals(" upon", bench.shown.spoken)
        assertTrue(bench.shown.canGoForth && !bench.shown.canGoBack)
        writing.next()
        assertEquals("Once arr", bench.shown.manuscript.shown)
        writing.accept()
        assertFalse(bench.shown.canGoBack)
    }
}
