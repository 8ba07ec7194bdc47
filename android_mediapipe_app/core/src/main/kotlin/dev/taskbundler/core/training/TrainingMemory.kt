package dev.taskbundler.core.training

import dev.taskbundler.core.formats.FlatTable
import dev.taskbundler.core.formats.FlatVector
import dev.taskbundler.core.formats.FlatbufferException
import dev.taskbundler.core.tflite.BufferField
import dev.taskbundler.core.tflite.ModelField
import dev.taskbundler.core.tflite.OperatorField
import dev.taskbundler.core.tflite.SubgraphField
import dev.taskbundler.core.tflite.TensorField

/**
 * About what a training takes, in bytes, computed from the trainer file.
 *
 * [mapped]: the file, which the system may drop and read again. [weights]: the interpreter's own copies of them, as floats.
 * [activations]: what lives at once in the graphs of a step and of a measurement, where these are widest; an interpreter places it with
 * some gaps. [state]: adapter, moments and gradient, before and after a step.
 */
data class TrainingMemory(val mapped: Long, val weights: Long, val activations: Long, val state: Long) {
    val total get() = mapped + weights + activations + state
}

/** Bytes that the interpreter keeps of each weight: XNNPACK has it as a float twice, in its own order (measured in LiteRT 1.4.0 and 2.3.0). */
internal const val BYTES_KEPT_OF_WEIGHT = 8L

/** What a [graph] takes: numbers of its constants, and bytes of its other tensors where most of them live at once. */
internal class GraphMemory(val constants: Long, val peak: Long)

/** Bytes of one number by TensorType of schema.fbs; what is not here takes four, or is in no trainer. */
private val BYTES = mapOf(1 to 2L, 3 to 1L, 4 to 8L, 6 to 1L, 7 to 2L, 9 to 1L, 10 to 8L)

/**
 * What [graph], of [model], takes.
 *
 * A tensor lives from the operator that writes it to the last that reads it; an input from the beginning, an output to the end. Constants
 * are in the file.
 */
internal fun graphMemory(graph: FlatTable, model: FlatTable): GraphMemory {
    val tensors = graph.tables(SubgraphField.TENSORS).atMost(MOST_ELEMENTS)
    val operators = graph.tables(SubgraphField.OPERATORS).atMost(MOST_ELEMENTS)
    val lives = Lives(tensors.size)
    for (tensor in indices(graph.vector(SubgraphField.INPUTS, 4), tensors.size)) lives.at(tensor, 0)
    for (step in 0 until operators.size) {
        val operator = operators.table(step)
        for (field in listOf(OperatorField.INPUTS, OperatorField.OUTPUTS)) {
            for (tensor in indices(operator.vector(field, 4), tensors.size)) lives.at(tensor, step)
        }
    }
    for (tensor in indices(graph.vector(SubgraphField.OUTPUTS, 4), tensors.size)) lives.at(tensor, maxOf(0, operators.size - 1))
    val buffers = model.tables(ModelField.BUFFERS).atMost(MOST_ELEMENTS)
    val (constants, others) = (0 until tensors.size).filter(lives::isNeeded).partition { isConstant(tensors.table(it), buffers) }
    return GraphMemory(constants.sumOf { numbers(tensors.table(it)) }, lives.peak(others, operators.size) { bytes(tensors.table(it)) })
}

/** From which operator to which each tensor is needed. */
private class Lives(count: Int) {
    private val first = IntArray(count) { -1 }
    private val last = IntArray(count)

    fun at(tensor: Int, step: Int) {
        if (first[tensor] < 0) first[tensor] = step
        last[tensor] = step
    }

    fun isNeeded(tensor: Int) = first[tensor] >= 0

    fun peak(tensors: List<Int>, steps: Int, bytes: (Int) -> Long): Long {
        val change = LongArray(steps + 2)
        for (tensor in tensors) {
            val size = bytes(tensor)
            change[first[tensor]] += size
            change[last[tensor] + 1] -= size
        }
        var now = 0L
        return change.maxOf {
            now += it
            now
        }
    }
}

/** An operator names an input that it is not given with -1. */
private fun indices(list: FlatVector?, count: Int): List<Int> = List(list?.size ?: 0) { list!!.i32(it) }.filter { it >= 0 }.onEach {
    if (it >= count) throw FlatbufferException("tensor $it of $count")
}

private fun isConstant(tensor: FlatTable, buffers: FlatVector): Boolean {
    val index = tensor.u32(TensorField.BUFFER)
    if (index !in 1 until buffers.size) return false
    val buffer = buffers.table(index.toInt())
    // Beyond two gigabytes data lies behind the flatbuffer, and the buffer says where.
    return (buffer.vector(BufferField.DATA, 1)?.size ?: 0) > 0 || buffer.i64(BufferField.OFFSET) > 1
}

private fun numbers(tensor: FlatTable): Long =
    dimensions(tensor).fold(1L) { product, dimension -> minOf(product * maxOf(dimension, 1), MOST_NUMBERS) }

private fun bytes(tensor: FlatTable): Long = numbers(tensor) * (BYTES[tensor.byte(TensorField.TYPE)] ?: 4L)

/** Of one tensor: so that a hostile file's products and sums stay numbers. */
private const val MOST_NUMBERS = 1L shl 31
