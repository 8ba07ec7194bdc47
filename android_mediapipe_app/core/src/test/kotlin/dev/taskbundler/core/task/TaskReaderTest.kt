package dev.taskbundler.core.task

import dev.taskbundler.core.file
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.assertRefused
import dev.taskbundler.core.vector
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class TaskReaderTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val one = "first entry".toByteArray()
    private val two = ByteArray(70_000) { it.toByte() }

    private fun read(zip: ZipBuilder) = readTask(folder.file("x.task", zip.build()))

    private fun refused(code: FindingCode, vararg words: String, zip: ZipBuilder) = assertRefused(code, "x.task", *words) { read(zip) }

    private fun refused(code: FindingCode, vararg words: String, part: ZipPart) =
        refused(code, *words, zip = ZipBuilder(listOf(ZipPart("A", one), part)))

    @Test
    fun `entries are where the writer put them`() {
        val bytes = ZipBuilder(listOf(ZipPart(MODEL, one), ZipPart("B.c", two))).build()
        val task = readTask(folder.file("x.task", bytes))
        assertEquals(listOf(MODEL, "B.c"), task.entries.map { it.name })
        // 4 zeros, 30 bytes of header, 22 of name: docs/CONTAINERS.md.
        assertEquals(56L, task.entries[0].offset)
        assertEquals(4L, task.entries[0].headerOffset)
        for ((entry, content) in task.entries.zip(listOf(one, two))) {
            assertArrayEquals(content, bytes.copyOfRange(entry.offset.toInt(), (entry.offset + entry.size).toInt()))
            assertEquals(crc(content), entry.crc)
            assertTrue(entry.aligned)
            assertFalse(entry.compressed)
            assertEquals("PK\u0001\u0002", String(bytes, entry.recordOffset.toInt(), 4, Charsets.ISO_8859_1))
        }
    }

    @Test
    fun `a bundle that Python wrote is read`() {
        val task = readTask(vector("int8.task"))
        assertEquals(listOf(MODEL, TOKENIZER, METADATA, MANIFEST), task.entries.map { it.name })
        assertEquals("no tokenizer", String(task.read(TOKENIZER, 100)))
    }

    @Test
    fun `a comment at the end is no harm, even one that looks like an end record`() {
        val fake = i32(0x06054B50) + ByteArray(18)
        for (comment in listOf("hello".toByteArray(), fake + "x".toByteArray(), ByteArray(65535))) {
            assertEquals(1, read(ZipBuilder(listOf(ZipPart("A", one)), comment = comment)).entries.size)
        }
    }

    @Test
    fun `a remark on an entry and fields for others are passed over`() {
        val part = ZipPart("A", one, remark = "remark".toByteArray(), extra = i16(7) + i16(3) + ByteArray(3))
        assertEquals(listOf("A", "B"), read(ZipBuilder(listOf(part, ZipPart("B", two)))).entries.map { it.name })
    }

    @Test
    fun `large sizes may stand in ZIP64 fields`() {
        val wide = ZipPart(
            "A",
            one,
            size = WIDE,
            storedSize = WIDE,
            localSize = WIDE,
            extra = i16(7) + i16(2) + i16(0) + wideField(11, 11, 1),
            headerOffset = WIDE,
            localExtra = wideField(11, 11),
        )
        val task = read(ZipBuilder(listOf(wide), zip64 = true))
        assertEquals(11L, task.entries[0].size)
        assertEquals(1L + 30 + 1 + 20, task.entries[0].offset)
    }

    @Test
    fun `ZIP64 records that lead nowhere are refused`() {
        val parts = listOf(ZipPart("A", one))
        val wrong = listOf(
            ZipBuilder(parts, zip64 = true, zip64At = 1L shl 40),
            ZipBuilder(parts, zip64 = true, zip64At = -1),
            ZipBuilder(parts, zip64 = true, zip64At = 0),
            ZipBuilder(parts, zip64 = true, zip64Length = 45),
            ZipBuilder(parts, zip64 = true, zip64Signature = 1),
            ZipBuilder(parts, count = 0xFFFF),
            ZipBuilder(parts, directorySize = -1),
            ZipBuilder(parts, directoryOffset = -1),
        )
        for (zip in wrong) refused(FindingCode.ZIP_DIRECTORY_DAMAGED, zip = zip)
    }

    @Test
    fun `a file without an end record was cut short`() {
        val whole = ZipBuilder(listOf(ZipPart("A", one))).build()
        for (size in listOf(0, 1, 21, 22, 60, whole.size - 1)) {
            assertRefused(FindingCode.FILE_TRUNCATED, "cut short") { readTask(folder.file("cut", whole.copyOf(size))) }
        }
    }

    @Test
    fun `a directory that contradicts its end record is refused`() {
        val parts = listOf(ZipPart("A", one), ZipPart("B", one))
        val wrong = listOf(
            ZipBuilder(parts, count = 1), ZipBuilder(parts, count = 3), ZipBuilder(parts, directorySize = 46), ZipBuilder(parts, directoryOffset = 5),
            ZipBuilder(
                parts,
                directoryOffset = 1 shl 30,
            ),
            ZipBuilder(parts, disk = 1), ZipBuilder(parts, gap = 1), ZipBuilder(parts, recordSignature = 7),
            ZipBuilder(listOf(ZipPart("A", one, disk = 1))), ZipBuilder(listOf(ZipPart("A", one, size = WIDE))),
            ZipBuilder(listOf(ZipPart("A", one, headerOffset = WIDE, extra = wideField(-1)))),
        )
        for (zip in wrong) refused(FindingCode.ZIP_DIRECTORY_DAMAGED, zip = zip)
    }

    @Test
    fun `a directory that ends within a record is refused`() {
        val parts = listOf(ZipPart("A", one))
        // The beginning of a record, and a whole one whose name reaches out of the directory.
        for (tail in listOf(i32(0x02014B50), i32(0x02014B50) + ByteArray(24) + i16(50) + ByteArray(16))) {
            refused(FindingCode.ZIP_DIRECTORY_DAMAGED, "directory", zip = ZipBuilder(parts, tail = tail))
        }
    }

    @Test
    fun `a directory larger than any bundle's is not read`() {
        val parts = List(20) { ZipPart("A$it", one, extra = ByteArray(60_000)) }
        refused(FindingCode.ZIP_DIRECTORY_DAMAGED, zip = ZipBuilder(parts))
    }

    @Test
    fun `names that could be paths are refused`() {
        for (name in listOf("", ".", "..", "/etc", "a/b", "..\\x", "C:x", "a\nb", "a\u0000b", "a\u007F")) {
            refused(FindingCode.ENTRY_NAME_PATH, part = ZipPart(name, one))
        }
        refused(FindingCode.ENTRY_NAME_PATH, part = ZipPart("\uFFFD", one, flags = 0x800))
        assertEquals(2, read(ZipBuilder(listOf(ZipPart("a.b_C-1", one), ZipPart("ä", one, flags = 0x800)))).entries.size)
    }

    @Test
    fun `two entries with one name are refused`() {
        refused(FindingCode.ENTRY_DUPLICATED, "A", part = ZipPart("A", two))
    }

    @Test
    fun `encrypted entries are refused`() {
        refused(FindingCode.ENTRY_ENCRYPTED, "B", part = ZipPart("B", one, flags = 1))
    }

    @Test
    fun `entries that share bytes are refused`() {
        refused(FindingCode.ENTRY_OVERLAP, zip = ZipBuilder(listOf(ZipPart("A", one), ZipPart("A", one, headerOffset = 1))))
        val nested = ZipBuilder(listOf(ZipPart("B", one))).build()
        val outer = ZipPart("A", nested)
        val inner = ZipPart("B", one, headerOffset = 33)
        refused(FindingCode.ENTRY_OVERLAP, zip = ZipBuilder(listOf(outer, inner)))
    }

    @Test
    fun `entries may follow each other without a gap`() {
        assertEquals(2, read(ZipBuilder(listOf(ZipPart("A", one), ZipPart("B", one, padding = 0)))).entries.size)
    }

    @Test
    fun `an entry that reaches into the directory is refused`() {
        refused(FindingCode.ENTRY_OVERLAP, "directory", part = ZipPart("B", one, size = 40, storedSize = 40))
    }

    @Test
    fun `entries outside of the file are refused`() {
        refused(FindingCode.ENTRY_OUTSIDE_FILE, part = ZipPart("B", one, size = 400_000, storedSize = 400_000))
        refused(FindingCode.ENTRY_OUTSIDE_FILE, part = ZipPart("B", one, headerOffset = 400_000))
        // Two entries and their directory take 204 bytes: this begins in the file and ends outside.
        refused(FindingCode.ENTRY_OUTSIDE_FILE, part = ZipPart("B", one, headerOffset = 190))
        val far = ZipPart("B", one, headerOffset = WIDE, extra = wideField(Long.MAX_VALUE))
        refused(FindingCode.ENTRY_OUTSIDE_FILE, part = far)
        val large = ZipPart("B", one, size = WIDE, storedSize = WIDE, extra = wideField(Long.MAX_VALUE, Long.MAX_VALUE))
        refused(FindingCode.ENTRY_OUTSIDE_FILE, part = large)
    }

    @Test
    fun `a local header that says something else is refused`() {
        val wrong = listOf(
            ZipPart("B", one, localName = "C"),
            ZipPart("B", one, localName = "BB"),
            ZipPart("B", one, localMethod = 8),
            ZipPart("B", one, localCrc = 1),
            ZipPart("B", one, localSize = 10),
            ZipPart("B", one, signature = 7),
            ZipPart("B", one, localSize = WIDE),
            ZipPart("B", one, storedSize = 10),
        )
        for (part in wrong) refused(FindingCode.ENTRY_HEADER_MISMATCH, "B", part = part)
    }

    @Test
    fun `sizes that follow the data are not expected before it`() {
        assertEquals(2, read(ZipBuilder(listOf(ZipPart("A", one), ZipPart("B", one, flags = 8, localSize = 0, localCrc = 0)))).entries.size)
    }

    @Test
    fun `compressed entries are listed, and refused when used`() {
        val task = read(ZipBuilder(listOf(ZipPart("A", one, method = 8, size = 500))))
        assertTrue(task.entries[0].compressed)
        assertRefused(FindingCode.ENTRY_COMPRESSED, "A") { task.usable("A") }
    }

    @Test
    fun `a model that is not aligned is refused, any other entry may lie anywhere`() {
        val task = read(ZipBuilder(listOf(ZipPart(MODEL, one, padding = 1), ZipPart("B", one, padding = 2))))
        assertRefused(FindingCode.ENTRY_MISALIGNED, MODEL) { task.usable(MODEL) }
        assertEquals("B", task.usable("B").name)
    }

    @Test
    fun `an entry that is not there is named with those that are`() {
        val task = read(ZipBuilder(listOf(ZipPart("A", one), ZipPart("B", one))))
        assertRefused(FindingCode.ENTRY_MISSING, METADATA, "A, B") { task.usable(METADATA) }
        assertRefused(FindingCode.ENTRY_MISSING, "none at all") { read(ZipBuilder(emptyList())).usable(METADATA) }
    }
}
