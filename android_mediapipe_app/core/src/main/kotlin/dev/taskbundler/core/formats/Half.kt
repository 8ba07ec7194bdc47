package dev.taskbundler.core.formats

import java.lang.Float.floatToRawIntBits
import java.lang.Float.intBitsToFloat

// IEEE 754 binary16: a sign, 5 bits of exponent (bias 15), 10 bits of fraction.

/** 2^-24, the step of the halves without an exponent. */
private const val SUBNORMAL_STEP = 1f / (1 shl 24)

/** 2^-14: below are the halves without an exponent. */
private const val LEAST_NORMAL = 0x38800000

/** 65520: from here on floats round to infinity. */
private const val OVERFLOW = 0x477FF000
private const val INFINITE = 0x7F800000
private const val HALF_INFINITE = 0x7C00

/** The float32 that the half in the low 16 bits of [half] is; exact. */
fun halfToFloat(half: Int): Float {
    val sign = (half and 0x8000) shl 16
    val exponent = half shr 10 and 0x1F
    val fraction = half and 0x3FF
    return when (exponent) {
        0 -> intBitsToFloat(floatToRawIntBits(fraction * SUBNORMAL_STEP) or sign)
        0x1F -> intBitsToFloat(sign or INFINITE or (fraction shl 13))
        else -> intBitsToFloat(sign or ((exponent + 112) shl 23) or (fraction shl 13))
    }
}

/** The nearest half in the low 16 bits, half to even; what is too large becomes infinite. */
fun floatToHalf(value: Float): Int {
    val bits = floatToRawIntBits(value)
    val sign = bits ushr 16 and 0x8000
    val magnitude = bits and 0x7FFFFFFF
    return sign or when {
        magnitude > INFINITE -> HALF_INFINITE or 0x200

        magnitude >= OVERFLOW -> HALF_INFINITE

        // A multiple of 2^-24: scaling by a power of two is exact, so rint is the only rounding.
        magnitude < LEAST_NORMAL -> Math.rint(intBitsToFloat(magnitude).toDouble() * (1 shl 24)).toInt()

        // The fraction loses 13 bits; a carry out of it raises the exponent, which is what is wanted.
        else -> (magnitude - (112 shl 23) + 0xFFF + (magnitude ushr 13 and 1)) ushr 13
    }
}

/** [value] rounded to eight significant bits, half to even: the float32 that a bfloat16 is. Not for NaN. */
fun roundToBfloat16(value: Float): Float {
    val bits = floatToRawIntBits(value)
    return intBitsToFloat((bits + 0x7FFF + (bits ushr 16 and 1)) and -0x10000)
}
