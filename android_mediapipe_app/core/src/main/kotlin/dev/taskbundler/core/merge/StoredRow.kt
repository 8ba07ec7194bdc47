package dev.taskbundler.core.merge

import dev.taskbundler.core.formats.f32
import dev.taskbundler.core.formats.floatToHalf
import dev.taskbundler.core.formats.halfToFloat
import dev.taskbundler.core.formats.putF32
import dev.taskbundler.core.formats.putI16
import dev.taskbundler.core.formats.roundToBfloat16
import dev.taskbundler.core.formats.u16
import dev.taskbundler.core.task.MappedTensor
import dev.taskbundler.core.task.WeightType

/** ai-edge-quantizer's bound: the largest |w| of a group is taken for at least this, so that a row of zeros has a scale. */
private const val LEAST_BOUND = 1e-9f

/** 2^-24, the smallest positive half. */
private const val LEAST_BLOCK_SCALE = 1f / (1 shl 24)

/** A merged weight, its scale or what is stored of it is not finite. */
internal class NotFiniteException : Exception()

/**
 * Adds changes to the rows of one matrix as they are stored: the arithmetic of docs/LORA.md, each float32 operation rounded by itself.
 *
 * A row is one group, or with blocks width / block of them. A group whose changes are all zero keeps its bytes, but what it would
 * become has to be finite as well.
 */
internal class StoredRow(private val tensor: MappedTensor) {
    private val width = tensor.width
    private val group = if (tensor.block == 0) width else tensor.block
    private val largest = if (tensor.type == WeightType.INT8) 127 else 7
    private val smallest = if (tensor.type == WeightType.INT8) -127 else -8
    private val weights = FloatArray(width)

    /**
     * Add [change] to the row whose values begin at [dataAt] of [data] and whose scales at [scalesAt] of [scales].
     * Throws NotFiniteException if the result is not finite.
     */
    fun add(change: FloatArray, data: ByteArray, dataAt: Int, scales: ByteArray, scalesAt: Int) {
        when (tensor.type) {
            WeightType.FLOAT32 -> addFloats(change, data, dataAt)
            WeightType.FLOAT16 -> addHalves(change, data, dataAt)
            else -> for (number in 0 until width / group) addGroup(change, number, data, dataAt, scales, scalesAt)
        }
    }

    private fun addFloats(change: FloatArray, data: ByteArray, at: Int) {
        for (i in 0 until width) weights[i] = finite(data.f32(at + 4 * i) + change[i])
        if (changes(change, 0)) for (i in 0 until width) data.putF32(at + 4 * i, weights[i])
    }

    private fun addHalves(change: FloatArray, data: ByteArray, at: Int) {
        for (i in 0 until width) {
            val stored = floatToHalf(finite(halfToFloat(data.u16(at + 2 * i)) + change[i]))
            weights[i] = finite(halfToFloat(stored))
        }
        if (changes(change, 0)) for (i in 0 until width) data.putI16(at + 2 * i, floatToHalf(weights[i]))
    }

    private fun addGroup(change: FloatArray, number: Int, data: ByteArray, dataAt: Int, scales: ByteArray, scalesAt: Int) {
        val first = number * group
        val old = if (tensor.block == 0) scales.f32(scalesAt) else halfToFloat(scales.u16(scalesAt + 2 * number))
        if (tensor.type == WeightType.INT8) {
            for (i in first until first + group) weights[i] = data[dataAt + i] * old + change[i]
        } else {
            for (i in first until first + group) weights[i] = nibble(data, dataAt, i) * old + change[i]
        }
        val scale = scaleFor(bound(first))
        if (!changes(change, first)) return
        for (i in first until first + group) {
            val value = Math.rint((weights[i] / scale).toDouble()).toInt()
            weights[i] = (
                if (value > largest) {
                    largest
                } else if (value < smallest) {
                    smallest
                } else {
                    value
                }
                ).toFloat()
        }
        if (tensor.type == WeightType.INT8) {
            for (i in first until first + group) data[dataAt + i] = weights[i].toInt().toByte()
        } else {
            for (i in first until first + group step 2) {
                data[dataAt + i / 2] = ((weights[i].toInt() and 15) or (weights[i + 1].toInt() shl 4)).toByte()
            }
        }
        if (tensor.block == 0) scales.putF32(scalesAt, scale) else scales.putI16(scalesAt + 2 * number, floatToHalf(scale))
    }

    private fun bound(first: Int): Float {
        var bound = LEAST_BOUND
        var finite = true
        for (i in first until first + group) {
            val magnitude = Math.abs(weights[i])
            // Turned round for NaN, which is neither more nor less.
            if (!(magnitude <= Float.MAX_VALUE)) finite = false
            if (magnitude > bound) bound = magnitude
        }
        if (!finite) throw NotFiniteException()
        return bound
    }

    private fun scaleFor(bound: Float): Float {
        val scale = bound / largest
        if (tensor.block == 0) return scale
        val stored = halfToFloat(floatToHalf(roundToBfloat16(scale)))
        return finite(if (stored < LEAST_BLOCK_SCALE) LEAST_BLOCK_SCALE else stored)
    }

    private fun changes(change: FloatArray, first: Int): Boolean {
        for (i in first until first + group) if (change[i] != 0f) return true
        return false
    }

    /** Value [i] of int4: two a byte, the first in the low four bits, two's complement. */
    private fun nibble(data: ByteArray, at: Int, i: Int): Int {
        val byte = data[at + i / 2].toInt()
        return if (i % 2 == 0) byte shl 28 shr 28 else byte shr 4
    }

    private fun finite(value: Float): Float = if (Math.abs(value) <= Float.MAX_VALUE) value else throw NotFiniteException()
}
