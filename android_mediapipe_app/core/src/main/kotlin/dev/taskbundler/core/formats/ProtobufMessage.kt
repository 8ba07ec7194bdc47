package dev.taskbundler.core.formats

import java.nio.charset.CharacterCodingException

const val WIRE_VARINT = 0
const val WIRE_FIXED64 = 1
const val WIRE_BYTES = 2
const val WIRE_FIXED32 = 5

/** Bytes that are no protobuf message. */
class ProtobufException(message: String) : Exception(message)

/** 2^29 - 1, protobuf's limit. */
private const val LARGEST_FIELD = (1L shl 29) - 1

/** A run of protobuf fields (https://protobuf.dev/programming-guides/encoding/). What is none ends in ProtobufException. */
class ProtobufMessage(private val bytes: ByteArray) {
    private var at = 0

    val atEnd: Boolean get() = at == bytes.size

    /** The number of the next field, and how its value is written. */
    fun tag(): Pair<Int, Int> {
        val tag = varint()
        val number = tag ushr 3
        if (number == 0L || number > LARGEST_FIELD) throw ProtobufException("field number $number")
        return number.toInt() to (tag and 7).toInt()
    }

    fun varint(): Long {
        var value = 0L
        for (shift in 0 until 70 step 7) {
            if (atEnd) throw ProtobufException("it ends within a number")
            val byte = bytes[at++].toLong()
            value = value or ((byte and 0x7F) shl shift)
            if (byte >= 0) return value
        }
        throw ProtobufException("a number of more than ten bytes")
    }

    fun text(): String = try {
        decodeUtf8(run())
    } catch (_: CharacterCodingException) {
        throw ProtobufException("a text that is no UTF-8")
    }

    /** A message in a field. */
    fun message() = ProtobufMessage(run())

    fun packed(): List<Long> {
        val inner = message()
        val values = ArrayList<Long>()
        while (!inner.atEnd) values.add(inner.varint())
        return values
    }

    fun skip(wire: Int) {
        when (wire) {
            WIRE_VARINT -> varint()
            WIRE_FIXED64 -> step(8)
            WIRE_BYTES -> run()
            WIRE_FIXED32 -> step(4)
            else -> throw ProtobufException("wire type $wire")
        }
    }

    private fun run(): ByteArray {
        val size = varint()
        if (size < 0 || size > bytes.size - at) throw ProtobufException("a field of $size bytes where ${bytes.size - at} are left")
        return step(size.toInt())
    }

    private fun step(count: Int): ByteArray {
        if (count > bytes.size - at) throw ProtobufException("it ends within a field")
        at += count
        return bytes.copyOfRange(at - count, at)
    }
}
