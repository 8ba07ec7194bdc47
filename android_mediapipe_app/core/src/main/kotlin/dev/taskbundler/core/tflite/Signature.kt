package dev.taskbundler.core.tflite

/** An input of a signature: its [shape], and whether it is float32. */
data class SignatureInput(val shape: List<Int>, val isFloat: Boolean)

/** One way to call a model: its name and its inputs by name. */
data class Signature(val key: String, val inputs: Map<String, SignatureInput>)

const val DECODE = "decode"
const val PREFILL = "prefill"

/**
 * The tokens that prompt and answer may have together, as LiteRT-LM takes them from [signatures]: the mask's last dimension, or the
 * length of the first layer's keys. Null if there is neither.
 */
fun contextOf(signatures: List<Signature>): Int? {
    val inputs = signatures.find { it.key == DECODE }?.inputs.orEmpty()
    return (inputs["mask"]?.shape?.getOrNull(3) ?: inputs["kv_cache_k_0"]?.shape?.getOrNull(2))?.takeIf { it > 0 }
}
