package dev.taskbundler.core.task

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.formats.i32
import dev.taskbundler.core.formats.u16
import dev.taskbundler.core.formats.u32
import java.io.File

private const val STORED = 0
private const val ENCRYPTED_FLAG = 0x1

/** A streaming writer put sizes and CRC after the data, so the local header holds none. */
private const val SIZES_FOLLOW_FLAG = 0x8
private const val UTF8_FLAG = 0x800

/**
 * The directory of a `.task` file, checked against the local headers; entry data is not read.
 *
 * Throws FindingException for what is no ZIP or a damaged or deceptive one: cut short, split, encrypted, entries that overlap,
 * lie outside, differ from their local header, share a name or have one that could be a path. Compressed and misaligned
 * entries are listed; [TaskFile.usable] refuses them. [name] is what messages call the file.
 */
fun readTask(file: File, name: String = file.name): TaskFile = FileBytes(file).use { bytes ->
    val directory = readZipDirectory(bytes, name)
    var end = 0L
    val entries = directory.records.sortedBy { it.headerOffset }.map { record ->
        val entry = readEntry(bytes, record, name)
        if (record.headerOffset < end) {
            overlap(name, entry.name, "begins at byte ${record.headerOffset}, but the entry before it ends at $end")
        }
        end = entry.offset + record.storedSize
        if (end > directory.start) overlap(name, entry.name, "ends at byte $end, past the directory at ${directory.start}")
        entry
    }
    entries.groupBy { it.name }.values.find { it.size > 1 }?.let { twice ->
        refuse(
            FindingCode.ENTRY_DUPLICATED,
            "$name has ${twice.size} entries called ${twice[0].name}; expected one; build the bundle again",
            "entry" to twice[0].name,
        )
    }
    TaskFile(file, entries)
}

private fun readEntry(file: FileBytes, record: ZipRecord, where: String): TaskEntry {
    val name = entryName(record, where)
    if (record.flags and ENCRYPTED_FLAG != 0) {
        refuse(FindingCode.ENTRY_ENCRYPTED, "$name in $where is encrypted; pack it again without a password", "entry" to name)
    }
    val at = record.headerOffset
    if (at > file.size - LOCAL_SIZE) {
        refuse(
            FindingCode.ENTRY_OUTSIDE_FILE,
            "$name is said to begin at byte $at of $where, which has ${file.size}; copy the file again or build the bundle again",
            "entry" to name,
        )
    }
    val header = file.bytes(at, LOCAL_SIZE)
    val nameSize = header.u16(26)
    val extraSize = header.u16(28)
    val data = at + LOCAL_SIZE + nameSize + extraSize
    if (data > file.size || record.storedSize > file.size - data) {
        refuse(
            FindingCode.ENTRY_OUTSIDE_FILE,
            "$name is said to take ${record.storedSize} bytes from $data on in $where, which has ${file.size}; copy the file again or build the " +
                "bundle again",
            "entry" to name,
        )
    }
    if (header.i32(0) != LOCAL_SIGNATURE) mismatch(where, name, "has no local header at byte $at")
    val nameAndExtra = file.bytes(at + LOCAL_SIZE, nameSize + extraSize)
    if (!nameAndExtra.copyOf(nameSize).contentEquals(record.name)) mismatch(where, name, "has another name in its local header")
    if (header.u16(8) !=
        record.method
    ) {
        mismatch(where, name, "is compressed by method ${header.u16(8)} in its local header, ${record.method} in the directory")
    }
    val wide = WideNumbers(nameAndExtra, nameSize, nameAndExtra.size)
    val size = wide.or(header.u32(22))
    val storedSize = wide.or(header.u32(18))
    val crc = header.u32(14)
    val sizesHere = header.u16(6) and SIZES_FOLLOW_FLAG == 0
    if (sizesHere && (wide.missing || size != record.size || storedSize != record.storedSize || crc != record.crc)) {
        mismatch(
            where,
            name,
            "has $size bytes and CRC ${crc.toString(16)} in its local header, ${record.size} and ${record.crc.toString(16)} in the directory",
        )
    }
    val compressed = record.method != STORED
    if (!compressed && record.size != record.storedSize) mismatch(where, name, "is stored, yet of ${record.size} bytes takes ${record.storedSize}")
    return TaskEntry(name, data, record.size, record.crc, compressed, at, record.recordOffset)
}

private fun entryName(record: ZipRecord, where: String): String {
    val name = String(record.name, if (record.flags and UTF8_FLAG != 0) Charsets.UTF_8 else Charsets.ISO_8859_1)
    if (name.isEmpty() || name == "." || name == ".." || name.any { it in "/\\:" || it.isISOControl() || it == '\uFFFD' }) {
        refuse(
            FindingCode.ENTRY_NAME_PATH,
            "$where has an entry whose name, ${record.name.size} bytes long, could be a path; expected one such as $METADATA; build the bundle again",
        )
    }
    return name
}

private fun overlap(where: String, entry: String, found: String): Nothing = refuse(
    FindingCode.ENTRY_OVERLAP,
    "$entry in $where $found; expected entries one after the other; build the bundle again",
    "entry" to entry,
)

private fun mismatch(where: String, entry: String, found: String): Nothing = refuse(
    FindingCode.ENTRY_HEADER_MISMATCH,
    "$entry in $where $found; the file is damaged: copy it again or build the bundle again",
    "entry" to entry,
)
