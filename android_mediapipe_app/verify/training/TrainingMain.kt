package dev.taskbundler.verify

import dev.taskbundler.core.adapter.taughtHeader
import dev.taskbundler.core.adapter.writeTaught
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.training.StepEngine
import dev.taskbundler.core.training.StepInputs
import dev.taskbundler.core.training.StepResult
import dev.taskbundler.core.training.TrainerFacts
import dev.taskbundler.core.training.Training
import dev.taskbundler.core.training.TrainingMemory
import dev.taskbundler.core.training.TrainingPlan
import dev.taskbundler.core.training.TrainingState
import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File

/**
 * `TrainingMain OUTPUT STEPS LAYERS WIDTH RANK QUERY_SCALE`: the app's training on this machine.
 *
 * Whoever started it computes the steps: it reads the length of a sequence and the text's tokens from the standard input, writes what it
 * asks for to the standard output, and reads the answers. All numbers are big-endian; a list begins with its length.
 */
fun main(arguments: Array<String>) {
    val (steps, layers, width, rank) = arguments.slice(1..4).map { it.toInt() }
    val engine = OtherProcess(DataInputStream(System.`in`.buffered()), DataOutputStream(System.out.buffered()))
    val tokens = engine.ints()
    val plan = TrainingPlan(steps, batch = 2, learningRate = 2e-2, warmup = 2)
    val trained = Training(engine, plan, tokens).run({ System.err.println("${it.step} ${it.loss}") }, CancelSignal())
    System.err.println("perplexity ${trained.before} ${trained.after}")
    val facts = TrainerFacts(layers, width, rank, engine.length, List(layers) { arguments[5].toDouble() }, null, TrainingMemory(0, 0, 0, 0))
    writeTaught(File(arguments[0]), taughtHeader(facts, "taught", plan.scaling), trained.adapter, plan.scaling)
    engine.end()
}

private class OtherProcess(private val input: DataInputStream, private val output: DataOutputStream) : StepEngine {
    override val length = input.readInt()

    fun ints() = IntArray(input.readInt()) { input.readInt() }

    fun end() {
        output.writeByte('e'.code)
        output.flush()
    }

    override fun start(): FloatArray {
        ask('s') {}
        return floats()
    }

    override fun train(tokens: IntArray, inputs: StepInputs, state: TrainingState): StepResult {
        ask('t') {
            put(tokens)
            output.writeInt(inputs.step)
            for (number in listOf(inputs.learningRate, inputs.scaling, inputs.weight)) output.writeFloat(number)
            output.writeBoolean(inputs.update)
            for (array in listOf(state.adapter, state.firstMoment, state.secondMoment, state.gradient)) put(array)
        }
        return StepResult(TrainingState(floats(), floats(), floats(), floats()), input.readFloat())
    }

    override fun losses(tokens: IntArray, adapter: FloatArray, scaling: Float): FloatArray {
        ask('l') {
            put(tokens)
            put(adapter)
            output.writeFloat(scaling)
        }
        return floats()
    }

    private fun ask(what: Char, write: () -> Unit) {
        output.writeByte(what.code)
        write()
        output.flush()
    }

    private fun put(numbers: IntArray) {
        output.writeInt(numbers.size)
        numbers.forEach(output::writeInt)
    }

    private fun put(numbers: FloatArray) {
        output.writeInt(numbers.size)
        numbers.forEach(output::writeFloat)
    }

    private fun floats() = FloatArray(input.readInt()) { input.readFloat() }
}
