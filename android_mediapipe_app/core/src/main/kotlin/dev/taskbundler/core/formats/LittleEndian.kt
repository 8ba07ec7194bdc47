package dev.taskbundler.core.formats

// Numbers in byte arrays, little-endian, unsigned where the name has a u. By hand because java.nio.ByteBuffer's own functions
// return other types on old Androids than on the JVM that this is compiled on.

fun ByteArray.u8(at: Int): Int = this[at].toInt() and 0xFF

fun ByteArray.u16(at: Int): Int = u8(at) or (u8(at + 1) shl 8)

fun ByteArray.i32(at: Int): Int = u16(at) or (u16(at + 2) shl 16)

fun ByteArray.u32(at: Int): Long = i32(at).toLong() and 0xFFFFFFFFL

fun ByteArray.i64(at: Int): Long = u32(at) or (i32(at + 4).toLong() shl 32)

fun ByteArray.f32(at: Int): Float = java.lang.Float.intBitsToFloat(i32(at))

fun ByteArray.putI16(at: Int, value: Int) {
    this[at] = value.toByte()
    this[at + 1] = (value shr 8).toByte()
}

fun ByteArray.putI32(at: Int, value: Int) {
    putI16(at, value)
    putI16(at + 2, value shr 16)
}

fun ByteArray.putF32(at: Int, value: Float) = putI32(at, java.lang.Float.floatToRawIntBits(value))
