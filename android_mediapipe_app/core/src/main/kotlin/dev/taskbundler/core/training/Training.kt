package dev.taskbundler.core.training

import dev.taskbundler.core.formats.CancelSignal
import java.util.Random
import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.exp

/** Every tenth token, at the end of the text, is held out. */
private const val HELD_OUT_PART = 10

/** Sequences; more would take longer to measure than some trainings take. */
private const val MOST_HELD_OUT = 32

/** How an adapter is trained. [batch] is in sequences; [scaling] is alpha / rank. The schedule is that of `task-bundler lora train`. */
data class TrainingPlan(
    val steps: Int,
    val batch: Int = 4,
    val learningRate: Double = 2e-3,
    val warmup: Int = 20,
    val scaling: Double = 2.0,
    val seed: Long = 1,
) {
    /** Linear warm-up, then cosine down to a tenth of the peak; [step] counts from 0. */
    fun learningRateAt(step: Int): Double {
        if (step < warmup) return learningRate * (step + 1) / warmup
        val progress = (step - warmup).toDouble() / maxOf(1, steps - warmup)
        return learningRate * (0.1 + 0.45 * (1 + cos(PI * progress)))
    }
}

/** After a step: [step] of [steps] are done, and the rest takes about [secondsLeft]. [loss] in nats. */
class TrainingProgress(val step: Int, val steps: Int, val loss: Float, val secondsLeft: Double)

/** Why a training ended. */
enum class TrainingEnd { DONE, STOPPED, DIVERGED }

/** What was learnt in [steps] steps: the last good adapter, and the held-out perplexity before and after; null where it was stopped before that. */
class Trained(val adapter: FloatArray, val steps: Int, val end: TrainingEnd, val before: Double?, val after: Double?)

/** The text has fewer tokens than a training takes. */
class TextTooShortException(val found: Int, val needed: Int) :
    Exception("the text has $found tokens; training takes at least $needed; give a longer text")

/** Throws [TextTooShortException] if [tokens] are too few for sequences of [length]. */
fun checkLength(tokens: IntArray, length: Int) {
    val needed = 2 * length + 2
    if (tokens.size < needed) throw TextTooShortException(tokens.size, needed)
}

/**
 * Trains an adapter on [tokens] with [engine]. Nothing here knows of layers, files or threads; [clock] gives nanoseconds.
 *
 * A training that is stopped, or whose loss is no number any more, keeps what it had learnt before.
 */
class Training(private val engine: StepEngine, private val plan: TrainingPlan, tokens: IntArray, private val clock: () -> Long = System::nanoTime) {
    private val train: IntArray
    private val heldOut: IntArray

    init {
        checkLength(tokens, engine.length)
        val kept = (tokens.size / HELD_OUT_PART).coerceIn(engine.length, MOST_HELD_OUT * engine.length)
        train = tokens.copyOf(tokens.size - kept)
        heldOut = tokens.copyOfRange(tokens.size - kept, tokens.size)
    }

    /** [onStep] is called after each step, on this thread; [signal] ends the training after the sequence that runs. */
    fun run(onStep: (TrainingProgress) -> Unit, signal: CancelSignal): Trained {
        var state = TrainingState.from(engine.start())
        val before = perplexity(FloatArray(state.adapter.size), signal)
        val started = clock()
        var end = TrainingEnd.DONE
        var done = 0
        while (done < plan.steps && end == TrainingEnd.DONE) {
            val result = step(state, done, signal)
            when {
                result == null -> end = TrainingEnd.STOPPED

                !result.loss.isFinite() || !result.state.adapter.all(Float::isFinite) -> end = TrainingEnd.DIVERGED

                else -> {
                    state = result.state
                    done++
                    val each = (clock() - started) / 1e9 / done
                    onStep(TrainingProgress(done, plan.steps, result.loss, each * (plan.steps - done)))
                }
            }
        }
        return Trained(state.adapter, done, end, before, perplexity(state.adapter, signal))
    }

    /** Null if it was stopped on the way. */
    private fun step(from: TrainingState, step: Int, signal: CancelSignal): StepResult? {
        val random = Random(plan.seed * 1_000_003 + step)
        var state = from
        var loss = 0f
        for (sequence in 1..plan.batch) {
            if (signal.isCancelled) return null
            val start = random.nextInt(train.size - engine.length)
            val inputs = StepInputs(
                step + 1,
                plan.learningRateAt(step).toFloat(),
                plan.scaling.toFloat(),
                1f / (plan.batch * engine.length),
                sequence == plan.batch,
            )
            val result = engine.train(train.copyOfRange(start, start + engine.length + 1), inputs, state)
            state = result.state
            loss += result.loss
        }
        return StepResult(state, loss)
    }

    private fun perplexity(adapter: FloatArray, signal: CancelSignal): Double? {
        val losses = heldOut.asList().chunked(engine.length).filter { it.size == engine.length }.flatMap {
            if (signal.isCancelled) return null
            engine.losses(it.toIntArray(), adapter, plan.scaling.toFloat()).asList()
        }
        return exp(losses.sumOf { it.toDouble() } / losses.size)
    }
}
