package dev.taskbundler.verify

import dev.taskbundler.app.engine.openTrainer
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.training.TrainerFacts
import dev.taskbundler.core.training.Training
import dev.taskbundler.core.training.TrainingEnd
import dev.taskbundler.core.training.TrainingMemory
import dev.taskbundler.core.training.TrainingPlan
import dev.taskbundler.fakes.Script
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Before
import org.junit.Test
import java.io.File

/** The file that knows LiteRT's interpreter, over its fake, which holds every call to the signatures of a trainer file. */
class TrainerEngineTest {
    private val facts = TrainerFacts(2, 4, 2, 4, listOf(0.5, 0.5), null, TrainingMemory(0, 0, 0, 0))
    private val tokens = IntArray(60) { it }

    @Before
    fun begin() = Script.reset()

    @After
    fun noRuleWasBroken() = assertEquals(emptyList<String>(), Script.violations.toList())

    private fun open() = openTrainer(File("/models/t.tflite"), facts)

    @Test
    fun `a training calls the trainer's signatures as they are`() {
        val trained = open().use { Training(it, TrainingPlan(3, batch = 2), tokens).run({}, CancelSignal()) }
        assertEquals(TrainingEnd.DONE to 3, trained.end to trained.steps)
        assertEquals(facts.count, trained.adapter.size)
        assertEquals(0.04f, trained.adapter[0], 1e-6f)
        assertEquals(listOf("open trainer t.tflite", "close trainer"), Script.calls.toList())
    }

    @Test
    fun `a loss that is no number ends it`() {
        Script.diverges = true
        assertEquals(TrainingEnd.DIVERGED, open().use { Training(it, TrainingPlan(3), tokens).run({}, CancelSignal()) }.end)
    }

    @Test
    fun `what the library throws comes out`() {
        Script.openFailure = UnsatisfiedLinkError("no libtensorflowlite_jni.so")
        assertThrows(UnsatisfiedLinkError::class.java) { open() }
    }
}
