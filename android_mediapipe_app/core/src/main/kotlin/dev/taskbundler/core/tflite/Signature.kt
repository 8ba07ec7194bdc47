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

/**
 * The step by which a cache grows that LiteRT-LM is told the length of: the shortest prefill. Null where the cache has one length.
 *
 * LiteRT-LM takes a context that is a prime above 10 for a placeholder (runtime/executor/magic_number_configs_helper.cc in its source).
 * Where lengths of prefill are placeholders too, it chooses all of them itself.
 */
fun growthOf(signatures: List<Signature>): Int? {
    if (contextOf(signatures)?.let(::isPlaceholder) != true) return null
    val lengths = signatures.filter { it.key.startsWith(PREFILL) }.mapNotNull { signature ->
        POSITIONS.firstNotNullOfOrNull { signature.inputs[it] }?.shape?.lastOrNull()?.takeIf { it > 0 }
    }
    return if (lengths.any(::isPlaceholder)) null else lengths.minOrNull()
}

private val POSITIONS = listOf("input_pos", "positions")

private fun isPlaceholder(number: Int) = number > 10 && (2..Math.sqrt(number.toDouble()).toInt()).all { number % it != 0 }
