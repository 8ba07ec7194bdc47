package dev.taskbundler.core.task

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.formats.i32
import dev.taskbundler.core.formats.i64
import dev.taskbundler.core.formats.u16
import dev.taskbundler.core.formats.u32

// The ZIP format is PKWARE's APPNOTE.TXT 6.3; docs/CONTAINERS.md shows the bytes.

internal const val LOCAL_SIGNATURE = 0x04034B50
private const val RECORD_SIGNATURE = 0x02014B50
private const val END_SIGNATURE = 0x06054B50
private const val END64_SIGNATURE = 0x06064B50
private const val LOCATOR64_SIGNATURE = 0x07064B50
internal const val LOCAL_SIZE = 30
private const val RECORD_SIZE = 46
private const val END_SIZE = 22
private const val END64_SIZE = 56
private const val LOCATOR64_SIZE = 20
private const val LONGEST_COMMENT = 0xFFFF

/** "See the ZIP64 field". */
internal const val WIDE = 0xFFFFFFFFL
private const val WIDE_COUNT = 0xFFFF
private const val ZIP64_FIELD = 1

/** Bytes of a directory; that of a bundle takes some hundred. */
private const val LARGEST_DIRECTORY = 1L shl 20

/** One record of the directory: what the ZIP says, not yet compared with what is there. Places in bytes of the file. */
internal data class ZipRecord(
    val name: ByteArray,
    val flags: Int,
    val method: Int,
    val crc: Long,
    val storedSize: Long,
    val size: Long,
    val headerOffset: Long,
    val recordOffset: Long,
)

internal class ZipDirectory(val start: Long, val records: List<ZipRecord>)

private class EndRecord(val at: Long, val count: Long, val size: Long, val start: Long)

/** Read the directory of the ZIP in [file]. Throws FindingException, [name] being what messages call the file. */
internal fun readZipDirectory(file: FileBytes, name: String): ZipDirectory {
    val end = findEnd(file, name)
    if (end.start < 0 || end.size < 0 || end.size > LARGEST_DIRECTORY || end.start > end.at - end.size) {
        damaged(name, "a directory of ${end.size} bytes at ${end.start} in front of its end record at ${end.at}")
    }
    // Bytes between the directory and its end would mean that offsets count from somewhere else.
    if (end.start + end.size != end.at) damaged(name, "a directory that ends at byte ${end.start + end.size}, not at its end record at ${end.at}")
    val bytes = file.bytes(end.start, end.size.toInt())
    val records = ArrayList<ZipRecord>()
    var at = 0
    while (at < bytes.size) {
        if (at > bytes.size - RECORD_SIZE || bytes.i32(at) != RECORD_SIGNATURE) damaged(name, "no record at byte ${end.start + at} of its directory")
        val length = RECORD_SIZE + bytes.u16(at + 28) + bytes.u16(at + 30) + bytes.u16(at + 32)
        if (at > bytes.size - length) damaged(name, "a record at byte ${end.start + at} that reaches out of its directory")
        records.add(record(bytes, at, end.start, name))
        at += length
    }
    if (records.size.toLong() != end.count) damaged(name, "${records.size} entries where its end record announces ${end.count}")
    return ZipDirectory(end.start, records)
}

private fun record(bytes: ByteArray, at: Int, start: Long, file: String): ZipRecord {
    val nameAt = at + RECORD_SIZE
    val extraAt = nameAt + bytes.u16(at + 28)
    val extraEnd = extraAt + bytes.u16(at + 30)
    val wide = WideNumbers(bytes, extraAt, extraEnd)
    // In this order the ZIP64 field holds those that do not fit.
    val size = wide.or(bytes.u32(at + 24))
    val storedSize = wide.or(bytes.u32(at + 20))
    val offset = wide.or(bytes.u32(at + 42))
    if (wide.missing || minOf(size, storedSize, offset) < 0) damaged(file, "an entry without the large numbers it refers to")
    if (bytes.u16(at + 34) != 0) damaged(file, "an entry on another disk")
    return ZipRecord(
        bytes.copyOfRange(nameAt, extraAt),
        bytes.u16(at + 8),
        bytes.u16(at + 10),
        bytes.u32(at + 16),
        storedSize,
        size,
        offset,
        start + at,
    )
}

/** The 64-bit numbers of a ZIP64 extra field in [from] until [until], in turn. */
internal class WideNumbers(private val bytes: ByteArray, from: Int, until: Int) {
    private var at = from
    private var end = from

    /** Whether a number was asked for that is not there. */
    var missing = false
        private set

    init {
        var field = from
        while (field <= until - 4) {
            val next = field + 4 + bytes.u16(field + 2)
            if (next > until) break
            if (bytes.u16(field) == ZIP64_FIELD) {
                at = field + 4
                end = next
                break
            }
            field = next
        }
    }

    /** [narrow], or the next number if [narrow] says so. */
    fun or(narrow: Long): Long {
        if (narrow != WIDE) return narrow
        if (at > end - 8) {
            missing = true
            return 0
        }
        at += 8
        return bytes.i64(at - 8)
    }
}

private fun findEnd(file: FileBytes, name: String): EndRecord {
    val size = minOf(file.size, (LONGEST_COMMENT + END_SIZE).toLong()).toInt()
    val tail = file.bytes(file.size - size, size)
    val tailAt = file.size - size
    // The last one whose comment ends with the file: a comment may itself look like an end record.
    val at = (size - END_SIZE downTo 0).firstOrNull { tail.i32(it) == END_SIGNATURE && it + END_SIZE + tail.u16(it + 20) == size } ?: refuse(
        FindingCode.FILE_TRUNCATED,
        "$name has ${file.size} bytes without a ZIP's end record; expected a .task file, which is an uncompressed ZIP; " +
            "the file may be cut short, so copy or download it again",
        "size" to file.size,
    )
    if (tail.u16(at + 4) != 0 || tail.u16(at + 6) != 0) damaged(name, "an archive of several parts")
    val narrow = EndRecord(tailAt + at, tail.u16(at + 10).toLong(), tail.u32(at + 12), tail.u32(at + 16))
    val locatorAt = at - LOCATOR64_SIZE
    if (locatorAt < 0 || tail.i32(locatorAt) != LOCATOR64_SIGNATURE) {
        if (narrow.count == WIDE_COUNT.toLong() || narrow.size == WIDE || narrow.start == WIDE) damaged(name, "no ZIP64 record where one is needed")
        return narrow
    }
    val end64At = tail.i64(locatorAt + 8)
    if (end64At < 0 || end64At > file.size - END64_SIZE) damaged(name, "a ZIP64 record said to lie at byte $end64At")
    val end64 = file.bytes(end64At, END64_SIZE)
    if (end64.i32(0) != END64_SIGNATURE) damaged(name, "no ZIP64 record at byte $end64At")
    // 12: what its length field does not count, the signature and itself.
    if (end64.i64(4) != tailAt + locatorAt - end64At - 12) damaged(name, "a ZIP64 record that does not end where its locator begins")
    return EndRecord(end64At, end64.i64(32), end64.i64(40), end64.i64(48))
}

private fun damaged(name: String, found: String): Nothing = refuse(
    FindingCode.ZIP_DIRECTORY_DAMAGED,
    "$name has $found; expected a .task file, which is an uncompressed ZIP; it is damaged: copy it again or build it again",
    "found" to found,
)
