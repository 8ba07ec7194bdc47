package dev.taskbundler.core.litertlm

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.formats.i64
import java.io.File
import java.util.zip.DataFormatException
import java.util.zip.Inflater

/** Bytes; GPT-2's tokenizer.json takes 1.4 million. */
private const val UNFOLDED_LIMIT = 1L shl 28
private const val SIZE_BYTES = 8
private const val CHUNK = 1 shl 16

/**
 * Unfold a Hugging Face tokenizer, without keeping it: zlib's checksum is the only one in a `.litertlm`. A SentencePiece model has none.
 *
 * Throws FindingException if it does not unfold to the size it announces, CancellationException when [cancel] is asked for.
 */
fun checkTokenizer(file: File, cancel: CancelSignal) {
    val section = readLitertLm(file).tokenizer
    if (section.type != HF_TOKENIZER) return
    if (section.size < SIZE_BYTES) unreadable(file, "has ${section.size} bytes")
    FileBytes(file, section.offset, section.size).use { bytes ->
        val announced = bytes.bytes(0, SIZE_BYTES).i64(0)
        if (announced !in 1..UNFOLDED_LIMIT) unreadable(file, "is said to unfold to $announced bytes")
        val unfolded = try {
            unfold(bytes, announced, cancel)
        } catch (error: DataFormatException) {
            unreadable(file, "does not unfold (${error.message})", error)
        }
        if (unfolded != announced) unreadable(file, "unfolds to other than the $announced bytes it announces")
    }
}

/** How many bytes it unfolds to; one that goes on past [most] or does not end is worth -1. */
private fun unfold(bytes: FileBytes, most: Long, cancel: CancelSignal): Long {
    val inflater = Inflater()
    try {
        val input = ByteArray(CHUNK)
        val output = ByteArray(CHUNK)
        var at = SIZE_BYTES.toLong()
        while (!inflater.finished() && inflater.bytesWritten <= most) {
            cancel.check()
            if (inflater.needsDictionary()) return -1
            if (inflater.needsInput()) {
                val count = minOf(CHUNK.toLong(), bytes.size - at).toInt()
                if (count == 0) return -1
                bytes.read(at, input, count)
                at += count
                inflater.setInput(input, 0, count)
            }
            inflater.inflate(output)
        }
        return if (inflater.finished()) inflater.bytesWritten else -1
    } finally {
        inflater.end()
    }
}

private fun unreadable(file: File, found: String, cause: Exception? = null): Nothing = refuse(
    FindingCode.TOKENIZER_UNREADABLE,
    "the tokenizer in ${file.name} $found; copy the file again or build it again",
    "found" to found,
    cause = cause,
)
