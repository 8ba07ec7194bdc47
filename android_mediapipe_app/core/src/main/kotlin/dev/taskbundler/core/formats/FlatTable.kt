package dev.taskbundler.core.formats

import java.io.EOFException
import java.nio.charset.CharacterCodingException

// FlatBuffers (https://flatbuffers.dev/internals/): a table begins with the distance back to its vtable, which holds for each
// field its distance from the table's beginning, 0 if it is not there. References are distances forward.

/** A flatbuffer that cannot be what it says. */
class FlatbufferException(message: String) : Exception(message)

/**
 * What [read] makes of a flatbuffer, or of JSON in one. What cannot be what it says is told to [unreadable], in words that go on after the
 * name of the file.
 */
internal inline fun <T> readFlatbuffer(unreadable: (String, Exception) -> Nothing, read: () -> T): T = try {
    read()
} catch (error: EOFException) {
    unreadable("leads outside of itself (${error.message})", error)
} catch (error: FlatbufferException) {
    unreadable("holds ${error.message}", error)
} catch (error: CharacterCodingException) {
    unreadable("has a name that is no UTF-8", error)
} catch (error: JsonException) {
    unreadable("has a header that is no JSON (${error.message})", error)
}

/** The root table of the flatbuffer in [file]. What lies outside of the file ends in FlatbufferException or EOFException. */
fun rootTable(file: FileBytes): FlatTable = FlatTable(file, file.u32(0))

/** A table at byte [at] of [file]. Fields count from 0, in the order of the schema. */
class FlatTable(private val file: FileBytes, val at: Long) {
    private val vtable = at - file.i32(at)
    private val vtableSize = file.u16(vtable)

    /** Where a field's value, or the reference to it, lies; null if it is not there. */
    fun place(field: Int): Long? {
        val entry = 4 + 2 * field
        if (entry + 2 > vtableSize) return null
        return file.u16(vtable + entry).takeIf { it != 0 }?.let { at + it }
    }

    fun byte(field: Int): Int = place(field)?.let { file.u8(it) } ?: 0

    fun u32(field: Int): Long = place(field)?.let { file.u32(it) } ?: 0

    fun i64(field: Int): Long = place(field)?.let { file.i64(it) } ?: 0

    /** The table that a field refers to; null if it is not there. */
    fun table(field: Int): FlatTable? = place(field)?.let { FlatTable(file, it + file.u32(it)) }

    fun text(field: Int): String? = vector(field, 1)?.let { decodeUtf8(it.bytes(LONGEST_TEXT)) }

    /** A vector of elements of [elementBytes] each; null if the field is not there. */
    fun vector(field: Int, elementBytes: Int): FlatVector? {
        val reference = place(field) ?: return null
        val start = reference + file.u32(reference)
        val count = file.u32(start)
        if (start + 4 + count * elementBytes > file.size) throw EOFException("a list of $count elements at $start of ${file.size}")
        return FlatVector(file, start + 4, count.toInt())
    }

    /** A vector of tables; empty if the field is not there. */
    fun tables(field: Int): FlatVector = vector(field, 4) ?: FlatVector(file, 0, 0)

    private companion object {
        /** Bytes; a name here takes some thirty. */
        const val LONGEST_TEXT = 1 shl 10
    }
}

/** [size] elements from byte [at] on. */
class FlatVector(private val file: FileBytes, val at: Long, val size: Int) {
    /** This list. Throws FlatbufferException if it has more than [limit] elements, which would keep a phone busy for nothing. */
    fun atMost(limit: Int): FlatVector {
        if (size > limit) throw FlatbufferException("a list of $size elements")
        return this
    }

    fun table(index: Int): FlatTable {
        if (index !in 0 until size) throw FlatbufferException("element $index of a list of $size")
        val reference = at + 4L * index
        return FlatTable(file, reference + file.u32(reference))
    }

    fun i32(index: Int): Int = file.i32(at + 4L * index)

    /** The bytes of a vector of bytes. Throws FlatbufferException if it has more than [limit]. */
    fun bytes(limit: Int): ByteArray {
        if (size > limit) throw FlatbufferException("a text of $size bytes")
        return file.bytes(at, size)
    }
}
