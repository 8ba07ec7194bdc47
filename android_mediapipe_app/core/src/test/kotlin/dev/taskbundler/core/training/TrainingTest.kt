package dev.taskbundler.core.training

import dev.taskbundler.core.formats.CancelSignal
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import kotlin.math.exp

private const val LENGTH = 4

/** The loss is the square of the distance from 1, and a step goes down along it. */
private class Parabola(private val diverging: Int = Int.MAX_VALUE) : StepEngine {
    override val length = LENGTH
    val calls = ArrayList<Pair<StepInputs, List<Int>>>()

    override fun start() = FloatArray(2) { 3f }

    override fun train(tokens: IntArray, inputs: StepInputs, state: TrainingState): StepResult {
        calls += inputs to tokens.asList()
        val gradient = FloatArray(2) { state.gradient[it] + 2 * (state.adapter[it] - 1) * LENGTH * inputs.weight }
        val loss = state.adapter.sumOf { (it - 1.0) * (it - 1.0) }.toFloat() * LENGTH * inputs.weight
        if (inputs.step == diverging) return StepResult(TrainingState.from(FloatArray(2) { Float.NaN }), Float.NaN)
        if (!inputs.update) return StepResult(TrainingState(state.adapter, state.firstMoment, state.secondMoment, gradient), loss)
        return StepResult(TrainingState.from(FloatArray(2) { state.adapter[it] - inputs.learningRate * gradient[it] }), loss)
    }

    override fun losses(tokens: IntArray, adapter: FloatArray, scaling: Float) = FloatArray(tokens.size - 1) { ((adapter[0] - 1) * (adapter[0] - 1)) }
}

class TrainingTest {
    private val text = IntArray(60) { it }
    private val plan = TrainingPlan(20, batch = 3, learningRate = 0.2, warmup = 2)

    @Test
    fun `it goes down, and tells how far it is and how long it takes`() {
        val steps = ArrayList<TrainingProgress>()
        var nanoseconds = 0L
        val trained = Training(Parabola(), plan, text) { nanoseconds.also { nanoseconds += 1_000_000_000 } }.run(steps::add, CancelSignal())
        assertEquals(TrainingEnd.DONE, trained.end)
        assertEquals(List(20) { it + 1 }, steps.map { it.step })
        assertEquals(8f, steps.first().loss, 1e-5f)
        assertTrue(steps.last().loss < 0.01f)
        assertEquals(19.0, steps.first().secondsLeft, 1e-9)
        assertEquals(0.0, steps.last().secondsLeft, 1e-9)
        assertEquals(exp(1.0), trained.before!!, 1e-6)
        assertTrue(trained.after!! < 1.01)
    }

    @Test
    fun `a batch is summed over its sequences, and updates with the last`() {
        val engine = Parabola()
        Training(engine, plan, text).run({}, CancelSignal())
        assertEquals(60, engine.calls.size)
        assertEquals(listOf(false, false, true), engine.calls.take(3).map { it.first.update })
        assertEquals(listOf(1, 1, 1, 2), engine.calls.take(4).map { it.first.step })
        for ((_, tokens) in engine.calls) {
            assertEquals(List(LENGTH + 1) { tokens[0] + it }, tokens)
            // The last tenth is held out.
            assertTrue(tokens.last() < 54)
        }
    }

    @Test
    fun `the same seed meets the same sequences`() {
        val (first, second, other) = listOf(1L, 1L, 2L).map { seed ->
            Parabola().also { Training(it, plan.copy(seed = seed), text).run({}, CancelSignal()) }.calls.map { it.second }
        }
        assertEquals(first, second)
        assertTrue(first != other)
    }

    @Test
    fun `what was learnt stays when it is stopped`() {
        val signal = CancelSignal()
        val trained = Training(Parabola(), plan, text).run({ if (it.step == 5) signal.cancel() }, signal)
        assertEquals(TrainingEnd.STOPPED, trained.end)
        assertEquals(5, trained.steps)
        assertTrue(trained.adapter[0] < 3f)
    }

    @Test
    fun `the last good state stays when a loss is no number`() {
        val trained = Training(Parabola(diverging = 4), plan, text).run({}, CancelSignal())
        assertEquals(TrainingEnd.DIVERGED, trained.end)
        assertEquals(3, trained.steps)
        assertTrue(trained.adapter.all { it.isFinite() } && trained.adapter[0] < 3f)
    }

    @Test
    fun `a short text is refused`() {
        val refused = assertThrows(TextTooShortException::class.java) { Training(Parabola(), plan, IntArray(9)) }
        assertEquals("the text has 9 tokens; training takes at least 10; give a longer text", refused.message)
        assertEquals(9 to 10, refused.found to refused.needed)
    }

    @Test
    fun `the learning rate warms up and goes down to a tenth`() {
        assertEquals(listOf(0.1, 0.2, 0.2), listOf(0, 1, 2).map { plan.learningRateAt(it) })
        assertEquals(0.02, plan.learningRateAt(20), 1e-9)
    }

    @Test
    fun `matrices lie in the vector as PEFT has them`() {
        // Two layers, width 3, rank 2: 36 numbers for each.
        val flat = FlatAdapter(2, 3, 2)
        assertEquals(72, flat.count)
        val vector = FloatArray(72) { it.toFloat() }
        // lora_A [2, 3] of layer 1 begins at 36: a is its transpose, twice as large.
        assertArrayEquals(floatArrayOf(72f, 78f, 74f, 80f, 76f, 82f), flat.a(vector, "k", 1, 2.0), 0f)
        // lora_B [9, 2] begins at 6: q's rows, then k's, then v's; q's have the query scale inside.
        assertArrayEquals(floatArrayOf(3f, 4f, 5f, 3.5f, 4.5f, 5.5f), flat.b(vector, "q", 0, 0.5), 0f)
        assertArrayEquals(floatArrayOf(18f, 20f, 22f, 19f, 21f, 23f), flat.b(vector, "v", 0, 0.5), 0f)
        // Then lora_A [2, 3] and lora_B [3, 2] of the output.
        assertArrayEquals(floatArrayOf(24f, 27f, 25f, 28f, 26f, 29f), flat.a(vector, "o", 0, 1.0), 0f)
        assertArrayEquals(floatArrayOf(30f, 32f, 34f, 31f, 33f, 35f), flat.b(vector, "o", 0, 0.5), 0f)
    }
}
