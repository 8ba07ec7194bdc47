package dev.taskbundler.app

import dev.taskbundler.app.state.Contents
import dev.taskbundler.app.state.Notice
import dev.taskbundler.app.state.TextProblem
import dev.taskbundler.app.teach.Classroom
import dev.taskbundler.app.teach.Subject
import dev.taskbundler.app.teach.TeachModel
import dev.taskbundler.app.teach.TeachPhase
import dev.taskbundler.app.teach.TeachPresenter
import dev.taskbundler.core.catalogue.ImportSource
import dev.taskbundler.core.engine.FailureKind
import dev.taskbundler.core.engine.RefusalReason
import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.training.StepEngine
import dev.taskbundler.core.training.StepInputs
import dev.taskbundler.core.training.StepResult
import dev.taskbundler.core.training.TrainingEnd
import dev.taskbundler.core.training.TrainingMemory
import dev.taskbundler.core.training.TrainingState
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

/** Each step adds 1 to the adapter, and takes 1 from a loss of 10. */
private class PlayedTrainer : StepEngine {
    override val length = 4
    var diverging = Int.MAX_VALUE
    var onStep: (Int) -> Unit = {}
    var isClosed = false
    var failure: Throwable? = null

    override fun start() = FloatArray(2)

    override fun train(tokens: IntArray, inputs: StepInputs, state: TrainingState): StepResult {
        failure?.let { throw it }
        onStep(inputs.step)
        val loss = if (inputs.step == diverging) Float.NaN else (10 - state.adapter[0]) * inputs.weight * length
        val added = if (inputs.update) 1 else 0
        return StepResult(TrainingState.from(FloatArray(2) { state.adapter[it] + added }), loss)
    }

    override fun losses(tokens: IntArray, adapter: FloatArray, scaling: Float) = FloatArray(length - 1) { 1f }

    override fun close() {
        isClosed = true
    }
}

class TeachPresenterTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val trainer = PlayedTrainer()
    private var openings = 0
    private val bench by lazy { Bench(folder.root) }
    private val presenter by lazy {
        val opened = Classroom({ _, _ -> trainer.also { openings++ } }, bench.turns) { 10_000L }
        TeachPresenter(bench.container, bench.writing, opened)
    }
    private var shown = TeachModel()
        get() {
            bench.settle()
            return field
        }

    private fun begun(contents: Contents = Contents(listOf(litertLm("a.litertlm")), listOf(adapter("pirate")), trainers = listOf(trainer("t")))) {
        bench.repository.contents = contents
        bench.start()
        presenter.attach { shown = it }
        bench.settle()
        presenter.edited("A text to learn from, long enough.")
        presenter.steps("5")
    }

    private fun taught(): TeachModel {
        presenter.begin()
        return shown
    }

    private class Source(override val name: String, private val content: ByteArray) : ImportSource {
        override val size = null

        override fun open() = content.inputStream()
    }

    @Test
    fun `it says what it teaches and what that takes, and when nothing can be taught`() {
        begun()
        assertEquals(Subject("a.litertlm", 16, TrainingMemory(500, 4000, 40, 2), 10_000), shown.subject)
        assertTrue(shown.canBegin)
        for (steps in listOf("", "0", "1001", "many")) {
            presenter.steps(steps)
            assertFalse(steps, shown.canBegin)
        }
    }

    @Test
    fun `without a trainer, or with another model's, it says what to do`() {
        begun(Contents(listOf(litertLm("a.litertlm"))))
        assertEquals(Notice.NoTrainer to null, shown.obstacle to shown.subject)
        val other = Finding(FindingCode.APP_TRAINER_OTHER_MODEL, emptyMap(), "other")
        bench.repository.contents =
            Contents(listOf(litertLm("a.litertlm")), trainers = listOf(trainer("t")), trainerMisfits = mapOf(("t" to "a.litertlm") to other))
        presenter.attach { shown = it }
        assertEquals(Notice.Found(other), shown.obstacle)
        bench.repository.contents = Contents()
        bench.writing.reload()
        presenter.attach { shown = it }
        assertEquals(Notice.NoBundle, shown.obstacle)
        presenter.begin()
        assertEquals(0 to TeachPhase.BEFORE, openings to shown.phase)
    }

    @Test
    fun `it learns in as many steps as were asked for, while the engine that writes is closed`() {
        begun()
        val steps = ArrayList<Int>()
        trainer.onStep = { steps += it }
        val after = taught()
        assertEquals(TeachPhase.TAUGHT, after.phase)
        // Four sequences a step.
        assertEquals(List(20) { it / 4 + 1 }, steps)
        val lesson = after.taught!!.lesson!!
        assertEquals(listOf(5, 5, TrainingEnd.DONE, 6f), listOf(lesson.steps, lesson.ofSteps, lesson.end, lesson.loss))
        assertEquals(listOf(5f, 5f), bench.repository.taught.single())
        assertEquals("taught", after.name)
        assertTrue(trainer.isClosed && !lesson.isMemoryShort)
        assertEquals(listOf("pirate", "taught"), bench.shown.adapters.mapNotNull { it.id })
    }

    @Test
    fun `meanwhile no text is written, and afterwards it is`() {
        begun()
        bench.writing.edited("Once")
        bench.settle()
        val opened = bench.engine.opened.size
        trainer.onStep = { if (it == 1) bench.container.controller.open(bench.engine.opened.last()) }
        presenter.begin()
        assertEquals(TeachPhase.TAUGHT, shown.phase)
        assertEquals(opened, bench.engine.opened.size)
        assertEquals(RefusalReason.TEACHING, (bench.shown.notice as Notice.Refused).refusal.reason)
        bench.writing.complete()
        bench.engine.write(" upon")
        bench.engine.end()
        assertEquals("Once upon", bench.shown.manuscript.shown)
    }

    @Test
    fun `what was learnt stays when it is stopped, and why is said`() {
        begun()
        trainer.onStep = { if (it == 3) presenter.stop() }
        val lesson = taught().taught!!.lesson!!
        assertEquals(listOf(2, TrainingEnd.STOPPED, false), listOf(lesson.steps, lesson.end, lesson.isMemoryShort))
        presenter.discard()
        assertEquals(TeachPhase.BEFORE, shown.phase)
        trainer.onStep = { if (it == 2) presenter.endForMemory() }
        val short = taught().taught!!.lesson!!
        assertEquals(listOf(1, TrainingEnd.STOPPED, true), listOf(short.steps, short.end, short.isMemoryShort))
        assertEquals(listOf(1f, 1f), bench.repository.taught.last())
    }

    @Test
    fun `nothing is kept of a teaching that learnt nothing`() {
        begun()
        trainer.onStep = { presenter.stop() }
        assertEquals(Notice.NothingLearnt to TeachPhase.BEFORE, taught().let { it.notice to it.phase })
        trainer.onStep = {}
        trainer.diverging = 1
        assertEquals(Notice.NothingLearnt, taught().notice)
        assertEquals(emptyList<List<Float>>(), bench.repository.taught)
        presenter.endForMemory()
        presenter.stop()
        assertEquals(TeachPhase.BEFORE, shown.phase)
    }

    @Test
    fun `the last good state stays when the loss is no number`() {
        begun()
        trainer.diverging = 4
        assertEquals(TrainingEnd.DIVERGED, taught().taught!!.lesson!!.end)
        assertEquals(listOf(3f, 3f), bench.repository.taught.single())
    }

    @Test
    fun `a text from which nothing can be taught is told in a sentence`() {
        begun()
        fun after(text: String): Notice? {
            presenter.edited(text)
            return taught().notice
        }
        assertEquals(Notice.TextRefused(TextProblem.EMPTY), after(" \n"))
        assertEquals(Notice.TextRefused(TextProblem.NO_TEXT), after("a\u0000b"))
        assertEquals(Notice.TextTooShort(5, 10), after("short"))
        assertEquals(0, openings)
        fun of(content: ByteArray): Notice? {
            presenter.take(Source("file.txt", content))
            return shown.notice
        }
        assertEquals(Notice.TextRefused(TextProblem.NO_TEXT), of(byteArrayOf(0xFF.toByte(), 1)))
        assertEquals(Notice.TextRefused(TextProblem.EMPTY), of(ByteArray(0)))
        assertEquals(Notice.TextRefused(TextProblem.TOO_LONG), of(ByteArray((4 shl 20) + 1) { 65 }))
        assertNull(shown.document)
    }

    @Test
    fun `a file stands in the place of what was pasted, and gives the adapter its name`() {
        begun()
        presenter.take(Source("sea.songs.txt", "\uFEFFHo ho ho and a bottle.".toByteArray()))
        assertEquals("Ho ho ho and a bottle.", shown.document!!.text)
        assertEquals("sea.songs", taught().taught!!.adapter.name)
        presenter.dropDocument()
        assertEquals(null to "A text to learn from, long enough.", shown.document to shown.text)
    }

    @Test
    fun `what is kept has a name of its own`() {
        begun()
        taught()
        presenter.named(" ")
        assertFalse(shown.canKeep)
        presenter.named("pirate")
        presenter.keep()
        assertEquals(Notice.NameTaken, shown.notice)
        presenter.named("sailor")
        presenter.keep()
        assertEquals(Notice.Kept("sailor") to TeachPhase.BEFORE, shown.let { it.notice to it.phase })
        assertEquals(listOf("pirate", "sailor"), bench.repository.contents.adapters.map { it.name })
    }

    @Test
    fun `it can be tried before, and stays chosen when it is kept`() {
        begun()
        taught()
        presenter.tryOut()
        assertEquals("taught", bench.writing.choice?.adapter?.id)
        presenter.named("sailor")
        presenter.keep()
        bench.settle()
        assertEquals("sailor", bench.writing.choice?.adapter?.id)
    }

    @Test
    fun `what is discarded is gone, and not chosen any more`() {
        begun()
        val adapter = taught().taught!!.adapter
        presenter.tryOut()
        presenter.discard()
        assertEquals(Notice.Deleted("taught"), shown.notice)
        assertEquals(listOf(adapter), bench.repository.deleted)
        assertNull(bench.writing.choice?.adapter)
    }

    @Test
    fun `another process finds what was not kept`() {
        begun(Contents(listOf(litertLm("a.litertlm")), listOf(adapter("pirate").copy(isKept = false)), trainers = listOf(trainer("t"))))
        assertEquals(TeachPhase.TAUGHT to "pirate", shown.let { it.phase to it.name })
        assertNull(shown.taught!!.lesson)
        presenter.begin()
        assertEquals(0, openings)
    }

    @Test
    fun `a task bundle is taught with the tokens of the litertlm beside it`() {
        begun(Contents(listOf(bundle("a.task")), trainers = listOf(trainer("t"))))
        assertEquals(FindingCode.APP_TRAINER_NO_TOKENIZER, (taught().notice as Notice.Found).finding.code)
        bench.repository.contents = Contents(listOf(bundle("a.task"), litertLm("b.litertlm")), trainers = listOf(trainer("t")))
        assertEquals(TeachPhase.TAUGHT, taught().phase)
    }

    @Test
    fun `a fault of the library is told, and the memory is free again`() {
        begun()
        trainer.failure = UnsatisfiedLinkError("no libtensorflowlite_jni.so")
        assertEquals(FailureKind.NO_NATIVE_LIBRARY, (taught().notice as Notice.Failed).failure.kind)
        trainer.failure = OutOfMemoryError()
        assertEquals(FailureKind.OUT_OF_MEMORY, (taught().notice as Notice.Failed).failure.kind)
        trainer.failure = null
        assertEquals(TeachPhase.TAUGHT, taught().phase)
        bench.writing.edited("Once")
        bench.writing.complete()
        bench.engine.write(" upon")
        assertEquals("Once upon", bench.shown.manuscript.shown)
    }
}
