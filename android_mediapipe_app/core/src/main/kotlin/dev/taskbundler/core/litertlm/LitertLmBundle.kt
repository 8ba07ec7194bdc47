package dev.taskbundler.core.litertlm

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.task.LlmParameters
import dev.taskbundler.core.tflite.LoraInputs
import dev.taskbundler.core.tflite.contextOf
import dev.taskbundler.core.tflite.growthOf
import dev.taskbundler.core.tflite.loraInputs
import dev.taskbundler.core.tflite.readSignatures
import java.io.File

/** Bytes; real metadata is under a kilobyte. */
private const val METADATA_LIMIT = 1L shl 20
private val FINGERPRINT = Regex("[0-9a-f]{64}")

/** What a `.litertlm` bundle says of itself. */
data class LitertLmBundle(
    val tokens: LlmParameters,
    /** Tokens that prompt and answer may have together; null where the file does not say. */
    val context: Int?,
    /** What its signatures take of an adapter; then every session has to be given one. Null: it takes none. */
    val lora: LoraInputs?,
    /** Of the weights that adapters have to be of, 64 hexadecimal digits; null where the file does not say. */
    val baseFingerprint: String?,
    /** The multiples in which its cache grows with the text; null where it has one length. */
    val growth: Int? = null,
)

/** Open a `.litertlm`: its header, LlmMetadata and signatures. Throws FindingException if LiteRT-LM could not use it, as far as that shows there. */
fun openLitertLm(file: File, name: String = file.name): LitertLmBundle {
    val header = readLitertLm(file, name)
    header.tokenizer
    val section = header.metadata
    if (section.size > METADATA_LIMIT) {
        refuse(
            FindingCode.METADATA_UNREADABLE,
            "${section.name} in $name has ${section.size} bytes; expected at most $METADATA_LIMIT; build it again",
        )
    }
    val metadata = decodeLlmMetadata(FileBytes(file, section.offset, section.size).use { it.bytes(0, section.size.toInt()) }, name)
    val model = header.model
    val signatures = readSignatures(file, model.offset, model.size, name)
    val growth = growthOf(signatures)
    // A context longer than the model's cache cannot be had; a placeholder is one more than any.
    val cache = contextOf(signatures)?.let { if (growth == null) it else it - 1 }
    val context = listOfNotNull(metadata.contextTokens, cache).minOrNull()
    val fingerprint = model.baseFingerprint?.takeIf { FINGERPRINT.matches(it) }
    return LitertLmBundle(metadata.tokens, context, loraInputs(signatures, name), fingerprint, growth)
}
