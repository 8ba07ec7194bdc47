package dev.taskbundler.core.litertlm

import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.formats.JsonException
import dev.taskbundler.core.formats.JsonObject
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
fun tokenCounter(file: File): TokenCounter? = tokenizer(file)?.let { encoder(it, emptyMap()) }

/** The same, which knows the ids of tokens as well: some megabytes more. */
fun tokenEncoder(file: File): BytePairEncoder? = tokenizer(file)?.let { encoder(it, ids(it)) }

private fun tokenizer(file: File): JsonValue? = try {
    val section = readLitertLm(file).tokenizer
    if (section.type != HF_TOKENIZER) {
        null
    } else {
        parseJson(FileBytes(file, section.offset, section.size).use { unfolded(it) })
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

private fun encoder(tokenizer: JsonValue, ids: Map<String, Int>): BytePairEncoder? {
    val cut = tokenizer["pre_tokenizer"]
    val model = tokenizer["model"] ?: return null
    val merges = model["merges"]?.array
    // Of another kind, it would be counted wrongly.
    if (model["type"]?.text != "BPE" || cut?.get("type")?.text != "ByteLevel" || merges == null) return null
    val ranks = HashMap<String, Int>(merges.size * 2)
    // Older files have the two symbols of a merge in one text.
    merges.forEachIndexed { rank, merge -> ranks[merge.text ?: merge.array.orEmpty().joinToString(" ") { it.text.orEmpty() }] = rank }
    return BytePairEncoder(ranks, added(tokenizer).map { it.first }, ids)
}

/** Texts that are one token each, and what they have beside their text. */
private fun added(tokenizer: JsonValue): List<Pair<String, JsonValue>> =
    tokenizer["added_tokens"]?.array.orEmpty().mapNotNull { token -> token["content"]?.text?.ifEmpty { null }?.let { it to token } }

private fun ids(tokenizer: JsonValue): Map<String, Int> {
    val symbols = (tokenizer["model"]?.get("vocab") as? JsonObject)?.members.orEmpty()
    val ids = HashMap<String, Int>(symbols.size * 2)
    for ((symbol, id) in symbols) ids[symbol] = id.int() ?: continue
    for ((text, token) in added(tokenizer)) ids[text] = token["id"]?.int() ?: continue
    return ids
}
