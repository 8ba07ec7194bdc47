package dev.taskbundler.core.litertlm

import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.formats.JsonException
import dev.taskbundler.core.formats.JsonValue
import dev.taskbundler.core.formats.i64
import dev.taskbundler.core.formats.parseJson
import dev.taskbundler.core.writing.BytePairEncoder
import dev.taskbundler.core.writing.TokenCounter
import java.io.ByteArrayInputStream
import java.io.EOFException
import java.io.File
import java.io.IOException
import java.util.zip.InflaterInputStream

/** Bytes of a tokenizer.json that is read into memory; GPT-2's takes 1.4 million. */
private const val MOST_BYTES = 1L shl 24

/**
 * What counts tokens as the Hugging Face tokenizer in a `.litertlm` does, or null if it has none of GPT-2's kind. Takes a fraction of a
 * second.
 */
fun tokenCounter(file: File): TokenCounter? = try {
    val section = readLitertLm(file).tokenizer
    if (section.type != HF_TOKENIZER) {
        null
    } else {
        encoder(parseJson(FileBytes(file, section.offset, section.size).use { unfolded(it) }))
    }
} catch (_: FindingException) {
    null
} catch (_: JsonException) {
    null
} catch (_: IOException) {
    null
}

private fun unfolded(bytes: FileBytes): ByteArray {
    val announced = bytes.bytes(0, Long.SIZE_BYTES).i64(0)
    if (announced !in 1..MOST_BYTES || bytes.size > MOST_BYTES) throw EOFException("$announced bytes")
    val content = ByteArray(announced.toInt())
    InflaterInputStream(ByteArrayInputStream(bytes.bytes(0, bytes.size.toInt()), Long.SIZE_BYTES, bytes.size.toInt())).use { input ->
        var count = 0
        while (count < content.size) {
            val read = input.read(content, count, content.size - count)
            if (read < 0) throw EOFException("$count bytes")
            count += read
        }
    }
    return content
}

private fun encoder(tokenizer: JsonValue): TokenCounter? {
    val cut = tokenizer["pre_tokenizer"]
    val model = tokenizer["model"] ?: return null
    val merges = model["merges"]?.array
    // Of another kind, it would be counted wrongly.
    if (model["type"]?.text != "BPE" || cut?.get("type")?.text != "ByteLevel" || merges == null) return null
    val ranks = HashMap<String, Int>(merges.size * 2)
    // Older files have the two symbols of a merge in one text.
    merges.forEachIndexed { rank, merge -> ranks[merge.text ?: merge.array.orEmpty().joinToString(" ") { it.text.orEmpty() }] = rank }
    return BytePairEncoder(ranks, tokenizer["added_tokens"]?.array.orEmpty().mapNotNull { it["content"]?.text?.ifEmpty { null } })
}
