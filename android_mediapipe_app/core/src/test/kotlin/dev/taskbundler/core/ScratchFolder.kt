package dev.taskbundler.core

import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.RandomAccessFile

/** The examples that Python wrote: an adapter, a base for each type, and what merging must give. */
val VECTORS = File("../../tests/lora_weights/vectors")

fun vector(name: String): File = File(VECTORS, name).also { check(it.exists()) { "$it is not there; run the tests in core/" } }

/** A new file with this content. */
fun TemporaryFolder.file(name: String, content: ByteArray): File = File(root, name).apply { writeBytes(content) }

/** Call [read] with one byte of a copy of [content] changed by [change], for each place in [places]. */
fun TemporaryFolder.withEachByteChanged(content: ByteArray, places: Iterable<Int>, change: (Byte) -> Int, read: (File) -> Unit) {
    val file = file("changed", content)
    RandomAccessFile(file, "rw").use { access ->
        for (at in places) {
            access.seek(at.toLong())
            access.write(change(content[at]))
            read(file)
            access.seek(at.toLong())
            access.write(content[at].toInt())
        }
    }
}
