package dev.taskbundler.core.formats

import java.io.RandomAccessFile

/**
 * Writes a flatbuffer from its end to its root, as the library of https://flatbuffers.dev does: what is referred to stands behind what
 * refers to it, and equal vtables are written once. The same calls give the same bytes as its Python.
 *
 * Places count from the buffer's end, and are what functions return. Zeros take no memory: only what is not zero is kept until [write].
 */
internal class BackwardsWriter {
    private class Piece(val place: Long, val bytes: ByteArray)

    private val pieces = ArrayList<Piece>()
    private val vtables = HashMap<List<Int>, Long>()
    private var largestAlignment = 1

    /** Bytes so far. */
    var size = 0L
        private set

    /** A vector of [count] zero bytes, which lie on a multiple of [alignment]. */
    fun zeros(count: Long, alignment: Int): Long {
        prepare(4, count)
        prepare(alignment, count)
        size += count
        return put(i32(count.toInt()))
    }

    fun bytes(content: ByteArray, alignment: Int): Long {
        prepare(4, content.size.toLong())
        prepare(alignment, content.size.toLong())
        put(content)
        return put(i32(content.size))
    }

    /** A text with its closing zero. */
    fun text(text: String): Long {
        val content = text.toByteArray()
        prepare(4, content.size + 1L)
        size += 1
        put(content)
        return put(i32(content.size))
    }

    fun numbers(values: List<Int>): Long {
        prepare(4, 4L * values.size)
        for (value in values.reversed()) put(i32(value))
        return put(i32(values.size))
    }

    fun references(places: List<Long>): Long {
        prepare(4, 4L * places.size)
        for (place in places.reversed()) reference(place)
        return put(i32(places.size))
    }

    /** A table of [count] fields; [fill] puts them in, in the order in which they are to stand from the end. */
    fun table(count: Int, fill: TableWriter.() -> Unit): Long {
        val end = size
        val fields = TableWriter(LongArray(count)).apply(fill).places
        prepare(4, 0)
        size += 4
        val place = size
        val offsets = fields.map { if (it == 0L) 0 else (place - it).toInt() }.dropLastWhile { it == 0 }
        val vtable = vtables.getOrPut(offsets + (place - end).toInt()) {
            for (offset in offsets.reversed()) put(i16(offset))
            put(i16((place - end).toInt()))
            put(i16(4 + 2 * offsets.size))
        }
        pieces += Piece(place, i32((vtable - place).toInt()))
        return place
    }

    /** The root and the four letters [identifier] come first. */
    fun finish(root: Long, identifier: String) {
        prepare(largestAlignment, 8)
        put(identifier.toByteArray())
        reference(root)
    }

    /** The eight bytes at [place] become the number of bytes before what lies at [target]. To be called when all is finished. */
    fun point(place: Long, target: Long) {
        val from = size - target
        pieces += Piece(place, i32(from.toInt()) + i32((from shr 32).toInt()))
    }

    /** Bring everything to the beginning of [file], which has to be as long and all zeros. */
    fun write(file: RandomAccessFile) {
        for (piece in pieces.sortedByDescending { it.place }) {
            file.seek(size - piece.place)
            file.write(piece.bytes)
        }
    }

    internal inner class TableWriter(val places: LongArray) {
        fun reference(field: Int, place: Long) {
            prepare(4, 0)
            this@BackwardsWriter.reference(place)
            places[field] = size
        }

        fun i32(field: Int, value: Int) {
            prepare(4, 0)
            places[field] = put(i32(value))
        }

        fun i64(field: Int, value: Long): Long {
            prepare(8, 0)
            places[field] = put(i32(value.toInt()) + i32((value shr 32).toInt()))
            return size
        }
    }

    private fun reference(place: Long) {
        put(i32((size - place + 4).toInt()))
    }

    /** Zeros, so that [count] bytes put now begin on a multiple of [alignment]. */
    private fun prepare(alignment: Int, count: Long) {
        largestAlignment = maxOf(largestAlignment, alignment)
        size += -(size + count) and (alignment - 1L)
    }

    private fun put(content: ByteArray): Long {
        size += content.size
        pieces += Piece(size, content)
        return size
    }

    private fun i16(value: Int) = ByteArray(2).also { it.putI16(0, value) }

    private fun i32(value: Int) = ByteArray(4).also { it.putI32(0, value) }
}
