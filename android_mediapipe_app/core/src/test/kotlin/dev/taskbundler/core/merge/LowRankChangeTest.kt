package dev.taskbundler.core.merge

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test

class LowRankChangeTest {
    private fun row(a: FloatArray, b: FloatArray, width: Int, o: Int) = FloatArray(width).also { LowRankChange(a, b, width).row(o, it) }

    @Test
    fun `the change is b times a, by output and input`() {
        // width 2, rank 3: a [2, 3], b [3, 2].
        val a = floatArrayOf(1f, 2f, 3f, 4f, 5f, 6f)
        val b = floatArrayOf(1f, 10f, 100f, 1000f, 10000f, 100000f)
        assertArrayEquals(floatArrayOf(30201f, 60504f), row(a, b, 2, 0), 0f)
        assertArrayEquals(floatArrayOf(302010f, 605040f), row(a, b, 2, 1), 0f)
    }

    @Test
    fun `the sum is taken in order and in float64`() {
        val large = Math.scalb(1f, 60)
        assertEquals(0f, row(floatArrayOf(1f, large, -large), floatArrayOf(1f, 1f, 1f), 1, 0)[0], 0f)
        val middle = Math.scalb(1f, 25)
        assertEquals(1f, row(floatArrayOf(middle, 1f, -middle), floatArrayOf(1f, 1f, 1f), 1, 0)[0], 0f)
    }

    @Test
    fun `a row does not remember the one before`() {
        val change = LowRankChange(floatArrayOf(1f, 2f), floatArrayOf(3f, 0f), 2)
        val values = FloatArray(2)
        change.row(0, values)
        assertArrayEquals(floatArrayOf(3f, 6f), values, 0f)
        change.row(1, values)
        assertArrayEquals(floatArrayOf(0f, 0f), values, 0f)
    }

    @Test
    fun `an adapter changes nothing if a or b is all zeros, of either sign`() {
        assertTrue(LowRankChange(floatArrayOf(0f, -0f), floatArrayOf(1f, 1f), 2).none)
        assertTrue(LowRankChange(floatArrayOf(1f, 1f), floatArrayOf(-0f, 0f), 2).none)
        assertFalse(LowRankChange(floatArrayOf(0f, 1f), floatArrayOf(0f, Float.MIN_VALUE), 2).none)
        assertFalse(LowRankChange(floatArrayOf(1f, 0f), floatArrayOf(Float.MIN_VALUE, 0f), 2).none)
    }
}
