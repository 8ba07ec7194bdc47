package dev.taskbundler.core.task

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.FileBytes
import java.util.zip.CRC32

private const val CHUNK = 1 shl 18

/** A small entry in memory. Throws FindingException if it has more than [limit] bytes or its CRC-32 is wrong. */
fun TaskFile.read(name: String, limit: Int): ByteArray {
    val entry = usable(name)
    if (entry.size > limit) {
        refuse(
            if (name == METADATA) FindingCode.METADATA_UNREADABLE else FindingCode.MANIFEST_UNREADABLE,
            "$name in ${file.name} has ${entry.size} bytes; expected at most $limit; build the bundle again",
            "entry" to name,
            "size" to entry.size,
        )
    }
    val bytes = FileBytes(file, entry.offset, entry.size).use { it.bytes(0, entry.size.toInt()) }
    checkCrc(entry, CRC32().apply { update(bytes, 0, bytes.size) }.value)
    return bytes
}

/** Read an entry through. Throws FindingException if its CRC-32 is wrong; [read] is told how many bytes were read at a time. */
fun TaskFile.checkEntry(name: String, cancel: CancelSignal, read: (Int) -> Unit) {
    val entry = usable(name)
    checkCrc(entry, FileBytes(file, entry.offset, entry.size).use { crcOf(it, cancel, read) })
}

/** CRC-32 of all [bytes]; [read] is told how many were read at a time. */
fun crcOf(bytes: FileBytes, cancel: CancelSignal, read: (Int) -> Unit): Long {
    val crc = CRC32()
    val chunk = ByteArray(CHUNK)
    var at = 0L
    while (at < bytes.size) {
        cancel.check()
        val count = minOf(CHUNK.toLong(), bytes.size - at).toInt()
        bytes.read(at, chunk, count)
        crc.update(chunk, 0, count)
        at += count
        read(count)
    }
    return crc.value
}

private fun TaskFile.checkCrc(entry: TaskEntry, found: Long) {
    if (found != entry.crc) {
        refuse(
            FindingCode.ENTRY_CHECKSUM_WRONG,
            "${entry.name} in ${file.name} is damaged: its bytes have CRC-32 ${found.toString(16)}, the bundle says ${entry.crc.toString(16)}; " +
                "copy or download the file again",
            "entry" to entry.name,
        )
    }
}
