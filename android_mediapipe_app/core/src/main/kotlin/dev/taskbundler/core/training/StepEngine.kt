package dev.taskbundler.core.training

import java.io.File

/** The adapter (see [FlatAdapter]), AdamW's moments, and the gradient summed so far. A step gives a new one. */
class TrainingState(val adapter: FloatArray, val firstMoment: FloatArray, val secondMoment: FloatArray, val gradient: FloatArray) {
    companion object {
        /** Where a training from [adapter] begins. */
        fun from(adapter: FloatArray) = TrainingState(adapter, FloatArray(adapter.size), FloatArray(adapter.size), FloatArray(adapter.size))
    }
}

/** One call of `train_T_rR`: [weight] is that of every position's loss; with [update] the adapter takes step number [step], from 1. */
class StepInputs(val step: Int, val learningRate: Float, val scaling: Float, val weight: Float, val update: Boolean)

class StepResult(val state: TrainingState, val loss: Float)

/** What computes with a trainer file: on a phone LiteRT's interpreter, in a test that of the machine it runs on. For one thread. */
interface StepEngine : AutoCloseable {
    /** Tokens of a sequence. */
    val length: Int

    /** The adapter that a training begins with. */
    fun start(): FloatArray

    /** [tokens] are [length] + 1: each is the target of the one before it. */
    fun train(tokens: IntArray, inputs: StepInputs, state: TrainingState): StepResult

    /** The cross-entropy of each of [tokens] but the first, given those before it; [length] tokens, in nats. */
    fun losses(tokens: IntArray, adapter: FloatArray, scaling: Float): FloatArray

    /** Give its memory back. */
    override fun close() = Unit
}

/** Opens a trainer file that says this of itself. Blocks; throws what the library throws. */
fun interface TrainerOpener {
    fun open(file: File, facts: TrainerFacts): StepEngine
}
