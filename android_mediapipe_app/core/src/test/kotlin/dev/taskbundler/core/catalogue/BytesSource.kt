package dev.taskbundler.core.catalogue

import java.io.FileNotFoundException
import java.io.IOException
import java.io.InputStream

/** A provider that gives [bytes] in pieces of [chunk], and fails where a test wants it to. */
class BytesSource(
    override val name: String,
    private val bytes: ByteArray,
    override val size: Long? = bytes.size.toLong(),
    private val failAt: Int? = null,
    private val opens: Boolean = true,
    private val chunk: Int = 4096,
    private val error: Exception = IOException("the drive is gone"),
) : ImportSource {
    var opened = false
    var closed = true

    override fun open(): InputStream {
        if (!opens) throw FileNotFoundException(name)
        opened = true
        closed = false
        return object : InputStream() {
            private var at = 0

            override fun read(): Int = throw UnsupportedOperationException()

            override fun read(into: ByteArray, offset: Int, length: Int): Int {
                if (failAt != null && at >= failAt) throw error
                if (at == bytes.size) return -1
                val count = minOf(length, bytes.size - at, chunk, (failAt ?: bytes.size) - at)
                bytes.copyInto(into, offset, at, at + count)
                at += count
                return count
            }

            override fun close() {
                closed = true
            }
        }
    }
}
