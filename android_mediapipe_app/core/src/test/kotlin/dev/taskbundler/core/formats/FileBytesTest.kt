package dev.taskbundler.core.formats

import dev.taskbundler.core.file
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.EOFException

class FileBytesTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val content = ByteArray(10_000) { (it * 31 + it / 256).toByte() }

    @Test
    fun `every place gives the bytes of the file, across windows and backwards`() {
        FileBytes(folder.file("f", content)).use { bytes ->
            for (at in listOf(0, 4090, 4095, 4096, 8188, 9992, 3, 5000)) {
                assertEquals(content.u8(at), bytes.u8(at.toLong()))
                assertEquals(content.u16(at), bytes.u16(at.toLong()))
                assertEquals(content.i32(at), bytes.i32(at.toLong()))
                assertEquals(content.u32(at), bytes.u32(at.toLong()))
                assertEquals(content.i64(at), bytes.i64(at.toLong()))
            }
            assertArrayEquals(content.copyOfRange(4000, 9000), bytes.bytes(4000, 5000))
        }
    }

    @Test
    fun `a part begins at zero and ends where it was said to`() {
        FileBytes(folder.file("f", content), 5000, 100).use { bytes ->
            assertEquals(100L, bytes.size)
            assertEquals(content.i32(5096), bytes.i32(96))
            assertThrows(EOFException::class.java) { bytes.i32(97) }
            assertThrows(EOFException::class.java) { bytes.bytes(1, 100) }
        }
        FileBytes(folder.file("f", content), 9000).use { assertEquals(1000L, it.size) }
    }

    @Test
    fun `places outside are refused before anything is allocated`() {
        FileBytes(folder.file("f", content)).use { bytes ->
            assertThrows(EOFException::class.java) { bytes.u8(-1) }
            assertThrows(EOFException::class.java) { bytes.u8(10_000) }
            assertThrows(EOFException::class.java) { bytes.i64(Long.MAX_VALUE - 3) }
            assertThrows(EOFException::class.java) { bytes.bytes(0, Int.MAX_VALUE) }
            assertThrows(EOFException::class.java) { bytes.bytes(0, -1) }
            assertEquals(content.u8(9999), bytes.u8(9999))
        }
        // The last bytes of the file, with nothing after them, each read first.
        FileBytes(folder.file("f", content)).use { assertEquals(content.u16(9998), it.u16(9998)) }
        FileBytes(folder.file("f", content)).use { assertEquals(content.i32(9996), it.i32(9996)) }
        FileBytes(folder.file("f", content)).use { assertEquals(content.u32(9996), it.u32(9996)) }
        FileBytes(folder.file("f", content)).use { bytes ->
            assertEquals(content.i64(9992), bytes.i64(9992))
        }
    }
}
