package dev.taskbundler.app.engine

import dev.taskbundler.core.training.StepEngine
import dev.taskbundler.core.training.StepInputs
import dev.taskbundler.core.training.StepResult
import dev.taskbundler.core.training.TrainerFacts
import dev.taskbundler.core.training.TrainingState
import org.tensorflow.lite.Interpreter
import java.io.File

// The only file that knows LiteRT's interpreter. docs/LORA.md specifies the signatures of a trainer file.

/** More threads than a phone has large cores make each of them wait. */
private const val MOST_THREADS = 4

/** Open a trainer file with LiteRT's interpreter, which maps it. Blocks; throws what the native library throws. */
fun openTrainer(file: File, facts: TrainerFacts): StepEngine {
    val threads = Runtime.getRuntime().availableProcessors().coerceIn(1, MOST_THREADS)
    return LiteRtTrainer(Interpreter(file, Interpreter.Options().setNumThreads(threads)), facts)
}

private class LiteRtTrainer(private val interpreter: Interpreter, private val facts: TrainerFacts) : StepEngine {
    private val shape = "${facts.length}_r${facts.rank}"

    override val length = facts.length

    override fun start(): FloatArray {
        val adapter = vector()
        interpreter.runSignature(mapOf("spread" to scalar(1f)), mapOf("adapter" to adapter), "init_r${facts.rank}")
        return adapter
    }

    override fun train(tokens: IntArray, inputs: StepInputs, state: TrainingState): StepResult {
        val next = TrainingState(vector(), vector(), vector(), vector())
        val loss = scalar(0f)
        interpreter.runSignature(
            vectors(state) + mapOf(
                "tokens" to arrayOf(tokens.copyOf(length)),
                "targets" to arrayOf(tokens.copyOfRange(1, length + 1)),
                "loss_weights" to arrayOf(FloatArray(length) { inputs.weight }),
                "scaling" to scalar(inputs.scaling),
                "step" to scalar(inputs.step.toFloat()),
                "learning_rate" to scalar(inputs.learningRate),
                "weight_decay" to scalar(0f),
                "update" to scalar(if (inputs.update) 1f else 0f),
            ),
            vectors(next) + mapOf("loss" to loss),
            "train_$shape",
        )
        return StepResult(next, loss[0])
    }

    override fun losses(tokens: IntArray, adapter: FloatArray, scaling: Float): FloatArray {
        val losses = arrayOf(FloatArray(length))
        interpreter.runSignature(
            mapOf(
                "tokens" to arrayOf(tokens),
                // The last token has no target; its loss is not asked for.
                "targets" to arrayOf(IntArray(length) { tokens[(it + 1) % length] }),
                "scaling" to scalar(scaling),
                "adapter" to adapter,
            ),
            mapOf("losses" to losses),
            "eval_$shape",
        )
        return losses[0].copyOf(length - 1)
    }

    override fun close() = interpreter.close()

    private fun vectors(state: TrainingState): Map<String, Any> = mapOf(
        "adapter" to state.adapter,
        "first_moment" to state.firstMoment,
        "second_moment" to state.secondMoment,
        "gradient" to state.gradient,
    )

    private fun vector() = FloatArray(facts.count)

    private fun scalar(value: Float) = floatArrayOf(value)
}
