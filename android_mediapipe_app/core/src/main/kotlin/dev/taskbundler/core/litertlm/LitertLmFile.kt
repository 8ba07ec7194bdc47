package dev.taskbundler.core.litertlm

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import java.io.File

// Types of sections, as litertlm_header_schema.fbs numbers them.
internal const val TFLITE_MODEL = 3
internal const val SENTENCEPIECE = 4
internal const val LLM_METADATA = 5
internal const val HF_TOKENIZER = 6

/** The model_type under which LiteRT-LM looks for the model of a language model. */
internal const val PREFILL_DECODE = "tf_lite_prefill_decode"

/** The model_type of weights for browsers. */
internal const val ARTISAN = "tf_lite_artisan_text_decoder"

private val NAMES = mapOf(
    TFLITE_MODEL to "TFLiteModel",
    SENTENCEPIECE to "SP_Tokenizer",
    LLM_METADATA to "LlmMetadataProto",
    HF_TOKENIZER to "HF_Tokenizer_Zlib",
)

/** One section: its type in the schema, its place in the file in bytes, and those of its key-value pairs that this app knows. */
data class LitertLmSection(val type: Int, val offset: Long, val size: Long, val modelType: String?, val baseFingerprint: String?) {
    val name: String get() = listOfNotNull(NAMES[type] ?: "type $type", modelType).joinToString(" ")
}

/** The header of a `.litertlm` file; the sections' data stays on disk. */
data class LitertLmFile(val file: File, val sections: List<LitertLmSection>) {
    val metadata: LitertLmSection get() = find(LLM_METADATA) ?: missing(NAMES.getValue(LLM_METADATA))

    val tokenizer: LitertLmSection get() =
        find(HF_TOKENIZER) ?: find(SENTENCEPIECE) ?: missing("${NAMES[HF_TOKENIZER]} or ${NAMES[SENTENCEPIECE]}")

    val model: LitertLmSection get() {
        sections.find { it.type == TFLITE_MODEL && it.modelType == PREFILL_DECODE }?.let { return it }
        if (sections.any { it.type == TFLITE_MODEL && it.modelType == ARTISAN }) {
            refuse(
                FindingCode.MODEL_WEB_ONLY,
                "the only model in ${file.name} that writes text is for browsers; get the file without \"web\" in its name",
            )
        }
        missing("${NAMES[TFLITE_MODEL]} $PREFILL_DECODE")
    }

    private fun find(type: Int) = sections.find { it.type == type }

    private fun missing(name: String): Nothing = refuse(
        FindingCode.SECTION_MISSING,
        "${file.name} has no section $name, only ${sections.joinToString { it.name }.ifEmpty { "none at all" }.take(300)}; " +
            "expected a .litertlm of a language model; check that this is the right file",
        "section" to name,
    )
}
