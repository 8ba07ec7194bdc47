package dev.taskbundler.core.task

import dev.taskbundler.core.file
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.assertRefused
import dev.taskbundler.core.formats.CancelSignal
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.util.concurrent.CancellationException

class EntryReadingTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val content = ByteArray(600_000) { (it / 7).toByte() }

    private fun task(part: ZipPart) = readTask(folder.file("x.task", ZipBuilder(listOf(part)).build()))

    @Test
    fun `an entry is read whole`() {
        assertArrayEquals(content, task(ZipPart(MANIFEST, content)).read(MANIFEST, content.size))
    }

    @Test
    fun `an entry beyond its limit is not read`() {
        assertRefused(FindingCode.MANIFEST_UNREADABLE, "600000") { task(ZipPart(MANIFEST, content)).read(MANIFEST, content.size - 1) }
        assertRefused(FindingCode.METADATA_UNREADABLE) { task(ZipPart(METADATA, content)).read(METADATA, 10) }
    }

    @Test
    fun `bytes that do not have the checksum are refused`() {
        val task = task(ZipPart("A", content, crc = 0x1234))
        assertRefused(FindingCode.ENTRY_CHECKSUM_WRONG, "A", "1234") { task.read("A", content.size) }
        assertRefused(FindingCode.ENTRY_CHECKSUM_WRONG, "A", "1234") { task.checkEntry("A", CancelSignal()) {} }
    }

    @Test
    fun `checking goes through the entry once, in pieces`() {
        val counts = ArrayList<Int>()
        task(ZipPart("A", content)).checkEntry("A", CancelSignal()) { counts.add(it) }
        assertEquals(content.size, counts.sum())
        assertEquals(3, counts.size)
    }

    @Test
    fun `checking stops when asked to`() {
        val cancel = CancelSignal()
        val counts = ArrayList<Int>()
        assertThrows(CancellationException::class.java) {
            task(ZipPart("A", content)).checkEntry("A", cancel) {
                counts.add(it)
                cancel.cancel()
            }
        }
        assertEquals(1, counts.size)
    }
}
