package dev.taskbundler.core.formats

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import kotlin.math.pow

class HalfTest {
    /** The value by its definition, in float64. */
    private fun defined(half: Int): Double {
        val exponent = half shr 10 and 31
        val fraction = half and 1023
        val magnitude = when (exponent) {
            0 -> fraction / 1024.0 * 2.0.pow(-14)
            31 -> if (fraction == 0) Double.POSITIVE_INFINITY else Double.NaN
            else -> (1 + fraction / 1024.0) * 2.0.pow(exponent - 15)
        }
        return if (half and 0x8000 != 0) -magnitude else magnitude
    }

    @Test
    fun `every half has its defined value and comes back`() {
        for (half in 0..0xFFFF) {
            val value = halfToFloat(half)
            assertEquals(defined(half), value.toDouble(), 0.0)
            if (value.isNaN()) assertTrue(halfToFloat(floatToHalf(value)).isNaN()) else assertEquals(half, floatToHalf(value))
        }
    }

    @Test
    fun `halfway between two halves the even one is taken, next to it the nearer`() {
        for (half in 0 until 0x7BFF) {
            val middle = ((defined(half) + defined(half + 1)) / 2).toFloat()
            assertEquals(half + (half and 1), floatToHalf(middle))
            assertEquals(half, floatToHalf(Math.nextAfter(middle, 0.0)))
            assertEquals(half + 1, floatToHalf(Math.nextUp(middle)))
            assertEquals(half + (half and 1) or 0x8000, floatToHalf(-middle))
        }
    }

    @Test
    fun `too large becomes infinite from halfway on`() {
        assertEquals(0x7BFF, floatToHalf(65519.996f))
        assertEquals(0x7C00, floatToHalf(65520f))
        assertEquals(0xFC00, floatToHalf(-1e30f))
        assertEquals(0x7C00, floatToHalf(Float.POSITIVE_INFINITY))
    }

    @Test
    fun `bfloat16 keeps eight significant bits, half to even`() {
        assertEquals(1f, roundToBfloat16(1f), 0f)
        // Between 1 and 1 + 2^-7: halfway is 2^-8, and 1 is even; between the next two the upper one is.
        assertEquals(1f, roundToBfloat16(1f + 1 / 256f), 0f)
        assertEquals(1f + 2 / 128f, roundToBfloat16(1f + 3 / 256f), 0f)
        assertEquals(1f + 1 / 128f, roundToBfloat16(Math.nextUp(1f + 1 / 256f)), 0f)
        assertEquals(-3.140625f, roundToBfloat16(-3.14159265f), 0f)
    }
}
