package dev.taskbundler.core.adapter

import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.formats.sha256Of
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File

class ZeroAdapterTest {
    @get:Rule
    val folder = TemporaryFolder()

    private fun written(layers: Int, width: Int, rank: Int, fingerprint: String?): File =
        File(folder.root, "zero.tflite").also { writeZeroAdapter(it, layers, width, rank, fingerprint) }

    @Test
    fun `it is read as an adapter like any other, and every number is zero`() {
        val adapter = readAdapter(written(2, 8, 16, "f".repeat(64)))
        assertEquals(AdapterHeader("zero", 2, 8, 16, listOf(1.0, 1.0), null, null, "f".repeat(64)), adapter.header)
        FileBytes(adapter.file).use { bytes ->
            for (layer in 0 until 2) assertTrue((adapter.a(bytes, "q", layer) + adapter.b(bytes, "o", layer)).all { it == 0f })
        }
    }

    @Test
    fun `its bytes are those that Python writes`() {
        // SHA-256 of encode_adapter(zero_adapter(Base(layers, width, (1.0,) * layers, fingerprint), rank)), the middle one GPT-2 124M's.
        val hashes = mapOf(
            written(2, 8, 16, "f".repeat(64)).let { sha256Of(it) } to "19f6fa56a8f33d44d35a420d9c6521facd2b0fcdf7989cae50f60c39e848298b",
            written(12, 768, 16, null).let { sha256Of(it) } to "d24829489307ca92f3c6caf51fb016002a631f09e5b0349d04c5c45c81d4a52c",
            written(3, 20, 32, "0123456789abcdef".repeat(4)).let { sha256Of(it) } to
                "04e4e6e674aeb54c7b5e43ff0554f30fbd4084f24ba3937c4c4ece9ceec09445",
        )
        for ((found, expected) in hashes) assertEquals(expected, found)
    }
}
