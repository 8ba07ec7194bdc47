package dev.taskbundler.core.formats

import java.io.Closeable
import java.io.EOFException
import java.io.File
import java.io.RandomAccessFile

/** The part of [file] from [start] on, [size] bytes, to be read anywhere through one small window. Positions count from [start]. */
class FileBytes(file: File, private val start: Long = 0, size: Long? = null) : Closeable {
    private val access = RandomAccessFile(file, "r")

    val size: Long = size ?: (access.length() - start)

    private val window = ByteArray(WINDOW)
    private var windowAt = 0L
    private var windowSize = 0

    fun u8(at: Long): Int = window.u8(load(at, 1))

    fun u16(at: Long): Int = window.u16(load(at, 2))

    fun i32(at: Long): Int = window.i32(load(at, 4))

    fun u32(at: Long): Long = window.u32(load(at, 4))

    fun i64(at: Long): Long = window.i64(load(at, 8))

    /** [count] bytes from [at]. Throws EOFException if they are not all there: nothing is allocated for bytes that cannot be. */
    fun bytes(at: Long, count: Int): ByteArray {
        check(at, count.toLong())
        val result = ByteArray(count)
        read(at, result, count)
        return result
    }

    /** The first [count] bytes of [into] become those from [at] on. Throws EOFException if they are not all there. */
    fun read(at: Long, into: ByteArray, count: Int) {
        check(at, count.toLong())
        access.seek(start + at)
        access.readFully(into, 0, count)
    }

    override fun close() = access.close()

    private fun load(at: Long, count: Int): Int {
        if (at < windowAt || at > windowAt + windowSize - count) {
            check(at, count.toLong())
            windowSize = 0
            val wanted = minOf(WINDOW.toLong(), size - at).toInt()
            read(at, window, wanted)
            windowAt = at
            windowSize = wanted
        }
        return (at - windowAt).toInt()
    }

    private fun check(at: Long, count: Long) {
        if (at < 0 || count < 0 || count > size || at > size - count) throw EOFException("$count bytes at $at of $size")
    }

    private companion object {
        const val WINDOW = 4096
    }
}
