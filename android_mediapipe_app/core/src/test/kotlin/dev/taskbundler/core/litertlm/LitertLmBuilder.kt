package dev.taskbundler.core.litertlm

import dev.taskbundler.core.formats.FlatWriter
import dev.taskbundler.core.formats.Table
import dev.taskbundler.core.formats.Tables
import dev.taskbundler.core.formats.putI32
import dev.taskbundler.core.task.field
import dev.taskbundler.core.tflite.LORA_SIGNATURES
import dev.taskbundler.core.tflite.Signature
import dev.taskbundler.core.tflite.modelOf
import java.util.zip.Deflater

/** A token as LlmMetadata has it: field [number] holds a message with a text. */
fun tokenField(number: Int, text: String): ByteArray = messageField(number, field(2, text))

fun messageField(number: Int, content: ByteArray): ByteArray = byteArrayOf((number * 8 + 2).toByte(), content.size.toByte()) + content

fun bytesOf(vararg values: Int) = ByteArray(values.size) { values[it].toByte() }

/** GPT-2's: start and stop token <|endoftext|>, a context of 96. */
val GPT2_LLM_METADATA: ByteArray = tokenField(1, "<|endoftext|>") + tokenField(2, "<|endoftext|>") + bytesOf(0x28, 96)

/** A text as the section HF_Tokenizer_Zlib has it. */
fun foldedTokenizer(text: String = "{\"model\": {}}".repeat(20), announced: Int = text.length): ByteArray {
    val folded = ByteArray(text.length + 100)
    val size = Deflater().run {
        setInput(text.toByteArray())
        finish()
        deflate(folded)
    }
    return ByteArray(8).also { it.putI32(0, announced) } + folded.copyOf(size)
}

/** A section as a test wants it; [begin] and [end] are where it is said to lie, by default where it does. */
class Section(
    val type: Int,
    val content: ByteArray,
    vararg val pairs: Pair<String, String>,
    val begin: (Long) -> Long = { it },
    val end: (Long) -> Long = { it },
)

fun modelSection(signatures: List<Signature> = LORA_SIGNATURES, fingerprint: String? = "f".repeat(64)) = Section(
    TFLITE_MODEL,
    modelOf(signatures),
    *listOfNotNull("model_type" to PREFILL_DECODE, fingerprint?.let { "base_fingerprint" to it }).toTypedArray(),
)

/** A `.litertlm` in which everything can be wrong. */
class LitertLmBuilder(
    val sections: List<Section> = listOf(Section(LLM_METADATA, GPT2_LLM_METADATA), Section(HF_TOKENIZER, foldedTokenizer()), modelSection()),
    val version: Int = 1,
    val headerEnd: (Int) -> Int = { it },
    val page: Int = 16384,
    val root: (Table) -> Table = { it },
    val pair: (String, String) -> Table = { key, text -> Table(0 to key, 1 to 9.toByte(), 2 to Table(0 to text)) },
) {
    fun build(): ByteArray {
        // Places do not depend on what is written at them: once to find the header's size, once with them.
        val headerSize = header(sections.map { 0L to 0L }).size
        var end = 32 + headerSize
        val places = sections.map { section ->
            val begin = (end + page - 1) / page * page
            end = begin + section.content.size
            begin to end
        }
        val header = header(places.mapIndexed { i, (begin, end) -> sections[i].begin(begin.toLong()) to sections[i].end(end.toLong()) })
        val bytes = ByteArray(maxOf(end, 32 + headerSize))
        MAGIC.toByteArray().copyInto(bytes)
        bytes.putI32(8, version)
        bytes.putI32(12, 7)
        bytes.putI32(24, headerEnd(32 + headerSize))
        header.copyInto(bytes, 32)
        for ((section, place) in sections.zip(places)) section.content.copyInto(bytes, place.first)
        return bytes
    }

    private fun header(places: List<Pair<Long, Long>>): ByteArray {
        val listed = sections.zip(places).map { (section, place) ->
            Table(0 to Tables(section.pairs.map { pair(it.first, it.second) }), 1 to place.first, 2 to place.second, 3 to section.type.toByte())
        }
        return FlatWriter("").build(root(Table(1 to Table(0 to Tables(listed)))))
    }
}
