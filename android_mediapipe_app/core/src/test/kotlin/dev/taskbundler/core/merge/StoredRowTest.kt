package dev.taskbundler.core.merge

import dev.taskbundler.core.adapter.floats
import dev.taskbundler.core.formats.f32
import dev.taskbundler.core.formats.floatToHalf
import dev.taskbundler.core.formats.halfToFloat
import dev.taskbundler.core.formats.putI16
import dev.taskbundler.core.formats.u16
import dev.taskbundler.core.task.MappedTensor
import dev.taskbundler.core.task.WeightType
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class StoredRowTest {
    private fun row(type: WeightType, width: Int, block: Int = 0) =
        StoredRow(MappedTensor(0, "q", type, width, 0, if (type.isFloat) null else 0, block))

    private fun halves(vararg values: Float) = ByteArray(2 * values.size).also {
        for ((i, value) in values.withIndex()) it.putI16(2 * i, floatToHalf(value))
    }

    private fun bytes(vararg values: Int) = ByteArray(values.size) { values[it].toByte() }

    private val none = ByteArray(0)

    @Test
    fun `float32 is the sum`() {
        val data = floats(floatArrayOf(9f, 1f, -0f, 9f))
        row(WeightType.FLOAT32, 2).add(floatArrayOf(0.5f, 0f), data, 4, none, 0)
        assertArrayEquals(floats(floatArrayOf(9f, 1.5f, 0f, 9f)), data)
    }

    @Test
    fun `float16 is the sum, rounded once`() {
        val data = halves(9f, 1f, 2048f, 9f)
        // 2048 + 1 is halfway between two halves, and 1 + 2^-11 + 2^-20 beyond halfway.
        row(WeightType.FLOAT16, 2).add(floatArrayOf(1 / 2048f + 1 / 1048576f, 1f), data, 2, none, 0)
        assertArrayEquals(halves(9f, 1f + 1 / 1024f, 2048f, 9f), data)
    }

    @Test
    fun `int8 gets a scale of the row's largest over 127`() {
        val data = bytes(99, 10, -20, 99)
        val scales = floats(floatArrayOf(7f, 0.5f, 7f))
        // 10 * 0.5 + 20.4 = 25.4, -20 * 0.5 + 9.9 = -0.1
        row(WeightType.INT8, 2).add(floatArrayOf(20.4f, 9.9f), data, 1, scales, 4)
        assertArrayEquals(bytes(99, 127, -1, 99), data)
        val scale = (5f + 20.4f) / 127
        assertArrayEquals(floats(floatArrayOf(7f, scale, 7f)), scales)
    }

    @Test
    fun `values are rounded half to even`() {
        // A scale of exactly 1: the largest is 127.
        val data = bytes(127, 0, 0, 0, 0)
        row(WeightType.INT8, 5).add(floatArrayOf(0f, 0.5f, 1.5f, -2.5f, 2.4999998f), data, 0, floats(floatArrayOf(1f)), 0)
        assertArrayEquals(bytes(127, 0, 2, -2, 2), data)
    }

    @Test
    fun `int8 does not use its lowest value`() {
        val data = bytes(-128, 1)
        val scales = floats(floatArrayOf(1f))
        row(WeightType.INT8, 2).add(floatArrayOf(0f, 1f), data, 0, scales, 0)
        assertEquals(-127, data[0].toInt())
        assertEquals(128f / 127, scales.f32(0), 0f)
    }

    @Test
    fun `a row of zeros has a scale too`() {
        val data = bytes(5, -5)
        val scales = floats(floatArrayOf(1e-12f))
        row(WeightType.INT8, 2).add(floatArrayOf(-5e-12f, 6e-12f), data, 0, scales, 0)
        assertEquals(1e-9f / 127, scales.f32(0), 0f)
        assertArrayEquals(bytes(0, 0), data)
    }

    @Test
    fun `int4 is two values a byte, low first, down to -8`() {
        // 7, -8, -1, 1
        val data = bytes(0x87, 0x1F)
        val scales = halves(1f)
        row(WeightType.INT4, 4, 4).add(floatArrayOf(0f, 0f, 1f, 0f), data, 0, scales, 0)
        // The largest is 8: 8 / 7 rounded to eight bits, 1.140625; -8 / 1.140625 = -7.01.
        assertEquals(1.140625f, halfToFloat(scales.u16(0)), 0f)
        assertArrayEquals(bytes(0x96, 0x10), data)
    }

    @Test
    fun `int4 with one scale a row`() {
        val data = bytes(0x87, 0x1F)
        val scales = floats(floatArrayOf(0.875f))
        row(WeightType.INT4, 4).add(floatArrayOf(0f, 0f, 0f, 1f), data, 0, scales, 0)
        assertEquals(1f, scales.f32(0), 0f)
        // 6.125, -7, -0.875, 1.875 in steps of 1.
        assertArrayEquals(bytes(0x96, 0x2F), data)
    }

    @Test
    fun `each block has its own scale, and one without a change keeps its bytes`() {
        val data = bytes(10, 20, 30, 40, 50, 60)
        val scales = halves(9f, 0.5f, 3f, 1f)
        row(WeightType.INT8, 6, 2).add(floatArrayOf(0f, 0.25f, 0f, -0f, 0f, 1f), data, 0, scales, 2)
        // Changes are in the first and last block of a row whose scales begin at the second.
        val first = halfToFloat(scales.u16(2))
        val last = halfToFloat(scales.u16(6))
        assertEquals(0.080566406f, first, 0f)
        assertEquals(0.48046875f, last, 0f)
        assertArrayEquals(bytes(Math.rint(5 / 0.080566406).toInt(), 127, 30, 40, Math.rint(50 / 0.48046875).toInt(), 127), data)
        assertEquals(listOf(9f, 3f), listOf(halfToFloat(scales.u16(0)), halfToFloat(scales.u16(4))))
    }

    @Test
    fun `a block's scale is at least the smallest half`() {
        val data = bytes(0x01, 0)
        val scales = halves(5.9604645e-8f)
        row(WeightType.INT4, 4, 4).add(floatArrayOf(0f, 1e-9f, 0f, 0f), data, 0, scales, 0)
        assertEquals(1, scales.u16(0))
        assertArrayEquals(bytes(0x01, 0), data)
    }

    @Test
    fun `values are cut where a tiny scale could not be stored exactly`() {
        // 1.4 steps of the smallest half are stored as one, so 7 * 1.4 would be 9.8 steps.
        val step = 5.9604645e-8f
        val data = bytes(0, 0)
        val scales = halves(step)
        row(WeightType.INT4, 4, 4).add(floatArrayOf(9.8f * step, -9.8f * step, 3f * step, -3f * step), data, 0, scales, 0)
        assertEquals(1, scales.u16(0))
        assertArrayEquals(bytes(0x87, 0xD3), data)
        val wide = bytes(0, 0)
        row(WeightType.INT8, 2, 2).add(floatArrayOf(127 * 1.4f * step, -127 * 1.4f * step), wide, 0, scales, 0)
        assertArrayEquals(bytes(127, -127), wide)
    }

    @Test
    fun `the largest float is a float`() {
        val data = floats(floatArrayOf(Float.MAX_VALUE, -Float.MAX_VALUE))
        row(WeightType.FLOAT32, 2).add(FloatArray(2), data, 0, none, 0)
        assertArrayEquals(floats(floatArrayOf(Float.MAX_VALUE, -Float.MAX_VALUE)), data)
    }

    @Test
    fun `what is not finite is refused, in groups without a change as well`() {
        val cases = listOf(
            Triple(row(WeightType.FLOAT32, 2), floats(floatArrayOf(3e38f, 0f)), none),
            Triple(row(WeightType.FLOAT16, 2), halves(65504f, 0f), none),
            Triple(row(WeightType.INT8, 2), bytes(127, 0), floats(floatArrayOf(3e36f))),
            Triple(row(WeightType.INT8, 2), bytes(0, 0), floats(floatArrayOf(Float.NaN))),
        )
        for ((row, data, scales) in cases) assertThrows(NotFiniteException::class.java) { row.add(floatArrayOf(3e38f, 0f), data, 0, scales, 0) }
        for (value in listOf(Float.NaN, Float.NEGATIVE_INFINITY)) {
            assertThrows(NotFiniteException::class.java) {
                row(WeightType.FLOAT32, 2).add(FloatArray(2), floats(floatArrayOf(0f, value)), 0, none, 0)
            }
            assertThrows(NotFiniteException::class.java) { row(WeightType.FLOAT16, 2).add(FloatArray(2), halves(0f, value), 0, none, 0) }
            assertThrows(NotFiniteException::class.java) {
                row(WeightType.INT8, 2).add(FloatArray(2), bytes(1, 1), 0, floats(floatArrayOf(value)), 0)
            }
        }
        // -8 * 65504 / 7 is no half any more.
        assertThrows(NotFiniteException::class.java) { row(WeightType.INT4, 2, 2).add(FloatArray(2), bytes(0x08), 0, halves(65504f), 0) }
    }
}
