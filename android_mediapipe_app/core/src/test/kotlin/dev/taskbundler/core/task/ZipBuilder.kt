package dev.taskbundler.core.task

import dev.taskbundler.core.formats.putI16
import dev.taskbundler.core.formats.putI32
import java.io.ByteArrayOutputStream
import java.util.zip.CRC32

fun crc(bytes: ByteArray): Long = CRC32().apply { update(bytes, 0, bytes.size) }.value

fun i16(value: Int) = ByteArray(2).apply { putI16(0, value) }

fun i32(value: Int) = ByteArray(4).apply { putI32(0, value) }

fun i64(value: Long) = i32(value.toInt()) + i32((value shr 32).toInt())

/** One entry as a test wants it, right or wrong. What is left out is what a good writer would put there. */
class ZipPart(
    val name: String,
    val data: ByteArray,
    val localName: String = name,
    val method: Int = 0,
    val localMethod: Int = method,
    val flags: Int = 0,
    val crc: Long = crc(data),
    val localCrc: Long = crc,
    val size: Long = data.size.toLong(),
    val storedSize: Long = data.size.toLong(),
    val localSize: Long = size,
    val localStoredSize: Long = if (localSize == size) storedSize else localSize,
    val headerOffset: Long? = null,
    val disk: Int = 0,
    val extra: ByteArray = ByteArray(0),
    val localExtra: ByteArray = ByteArray(0),
    val remark: ByteArray = ByteArray(0),
    val signature: Int = LOCAL_SIGNATURE,
    val padding: Int? = null,
)

/** A ZIP in which everything can be wrong. */
class ZipBuilder(
    val parts: List<ZipPart>,
    val comment: ByteArray = ByteArray(0),
    val count: Int = parts.size,
    val directoryOffset: Int? = null,
    val directorySize: Int? = null,
    val disk: Int = 0,
    val zip64: Boolean = false,
    val zip64At: Long? = null,
    val zip64Length: Long = 44,
    val zip64Signature: Int = 0x06064B50,
    val recordSignature: Int = 0x02014B50,
    val gap: Int = 0,
    val tail: ByteArray = ByteArray(0),
) {
    fun build(): ByteArray {
        val out = ByteArrayOutputStream()
        val offsets = parts.map { part ->
            val header = 30 + part.localName.toByteArray().size + part.localExtra.size
            out.write(ByteArray(part.padding ?: (4 - (out.size() + header) % 4)))
            out.size().also { write(out, part) }
        }
        val start = out.size()
        for ((part, offset) in parts.zip(offsets)) out.write(record(part, part.headerOffset ?: offset.toLong()))
        out.write(tail)
        val size = out.size() - start
        out.write(ByteArray(gap))
        if (zip64) {
            val at = out.size()
            out.write(i32(zip64Signature) + i64(zip64Length) + i16(45) + i16(45) + i32(0) + i32(0) + i64(count.toLong()) + i64(count.toLong()))
            out.write(i64(size.toLong()) + i64(start.toLong()))
            out.write(i32(0x07064B50) + i32(0) + i64(zip64At ?: at.toLong()) + i32(1))
        }
        val shown = if (zip64) {
            i16(0xFFFF) + i16(0xFFFF) + i32(-1) + i32(-1)
        } else {
            i16(count) + i16(count) + i32(directorySize ?: size) +
                i32(directoryOffset ?: start)
        }
        out.write(i32(0x06054B50) + i16(disk) + i16(disk) + shown + i16(comment.size) + comment)
        return out.toByteArray()
    }

    private fun write(out: ByteArrayOutputStream, part: ZipPart) {
        val name = part.localName.toByteArray()
        out.write(i32(part.signature) + i16(20) + i16(part.flags) + i16(part.localMethod) + i16(0) + i16(0x21) + i32(part.localCrc.toInt()))
        out.write(
            i32(part.localStoredSize.toInt()) + i32(part.localSize.toInt()) + i16(name.size) + i16(part.localExtra.size) + name + part.localExtra +
                part.data,
        )
    }

    private fun record(part: ZipPart, offset: Long): ByteArray {
        val name = part.name.toByteArray()
        return i32(recordSignature) + i16(20) + i16(20) + i16(part.flags) + i16(part.method) + i16(0) + i16(0x21) + i32(part.crc.toInt()) +
            i32(
                part.storedSize.toInt(),
            ) + i32(part.size.toInt()) + i16(name.size) + i16(part.extra.size) + i16(part.remark.size) + i16(part.disk) + i16(0) + i32(0) +
            i32(offset.toInt()) + name + part.extra + part.remark
    }
}

private fun ByteArrayOutputStream.write(bytes: ByteArray) = write(bytes, 0, bytes.size)

/** A ZIP64 extra field with these numbers. */
fun wideField(vararg numbers: Long): ByteArray = numbers.fold(i16(1) + i16(8 * numbers.size)) { field, number -> field + i64(number) }
