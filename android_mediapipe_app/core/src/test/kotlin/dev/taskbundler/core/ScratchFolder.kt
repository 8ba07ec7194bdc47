package dev.taskbundler.core

import org.junit.rules.TemporaryFolder
import java.io.File

/** The examples that Python wrote: an adapter, a base for each type, and what merging must give. */
val VECTORS = File("../../tests/lora_weights/vectors")

fun vector(name: String): File = File(VECTORS, name).also { check(it.exists()) { "$it is not there; run the tests in core/" } }

/** A new file with this content. */
fun TemporaryFolder.file(name: String, content: ByteArray): File = File(root, name).apply { writeBytes(content) }
