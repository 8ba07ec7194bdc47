package dev.taskbundler.core.tflite

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse

/** What a model's plain signatures take of an adapter, which is LiteRT-LM's layout; docs/LORA.md explains the two. */
data class LoraInputs(val layers: Int, val width: Int, val rank: Int) {
    /** Bytes of an adapter's values. */
    val adapterBytes: Long get() = 4L * layers * PROJECTIONS.size * 2 * width * rank
}

private const val LORA_INPUT = "lora_"
private const val KEYS = "kv_cache_k_"

/** LiteRT-LM's; it says "Currently only support rank 16 and 32". */
private val RANKS = listOf(16, 32)

/** As in an adapter's header: more than any GPT-2 has, and few enough that a hostile number does no harm. */
private const val LARGEST_WIDTH = 1 shl 13

/** Bytes; GPT-2 XL's adapters of rank 32 take 79 million. One of zeros has to be written. */
private const val LARGEST_ADAPTER = 1L shl 30

/** MediaPipe's layout: a signature beside the plain one, for adapters of a rank. */
private val VARIANT = Regex("_lora_r\\d+$")

/**
 * The LoRA inputs of the plain [signatures], or null if they have none.
 *
 * Throws FindingException if LiteRT-LM could not be given an adapter for every one of them: an input is missing, of another shape or in
 * one signature only, or the rank is none that it takes. Also if it would run a signature with such inputs in place of the plain one.
 */
fun loraInputs(signatures: List<Signature>, name: String): LoraInputs? {
    checkOrder(signatures, name)
    val plain = signatures.filter { (it.key == DECODE || it.key.startsWith(PREFILL)) && VARIANT.find(it.key) == null }
    if (plain.all { loraOf(it).isEmpty() }) return null
    val decode = signatures.first { it.key == DECODE }.inputs
    val layers = decode.keys.count { it.startsWith(KEYS) }
    val first = decode[tensorName("q", 'a', 0)]?.shape?.takeIf { it.size == 2 } ?: incomplete(name, "decode has no ${tensorName("q", 'a', 0)}")
    val (width, rank) = first
    if (width !in 1..LARGEST_WIDTH) incomplete(name, "a LoRA input of decode is of width $width")
    if (rank !in RANKS) {
        refuse(
            FindingCode.LORA_RANK_UNSUPPORTED,
            "$name takes adapters of rank $rank; LiteRT-LM knows ${RANKS.joinToString(" and ")}; build it again with --lora-ranks ${RANKS[0]}",
            "rank" to rank,
        )
    }
    val expected = tensorShapes(layers, width, rank).mapValues { SignatureInput(it.value.toList(), true) }
    for (signature in plain) {
        val found = loraOf(signature)
        if (found != expected) {
            val wrong = (expected.keys + found.keys).first { expected[it] != found[it] }
            incomplete(
                name,
                "${signature.key.take(100)} has $wrong as ${found[wrong]?.shape ?: "nothing"}, expected ${expected[wrong]?.shape ?: "nothing"}",
            )
        }
    }
    val inputs = LoraInputs(layers, width, rank)
    if (inputs.adapterBytes > LARGEST_ADAPTER) incomplete(name, "an adapter would take ${inputs.adapterBytes} bytes")
    return inputs
}

private fun checkOrder(signatures: List<Signature>, name: String) {
    val prefills = signatures.map { it.key }.filter { it.startsWith(PREFILL) }
    // LiteRT-LM knows them by their length alone, and keeps the last.
    val shadowed =
        prefills.withIndex().find { (index, key) -> "${key}_lora_".let { variant -> prefills.drop(index).any { it.startsWith(variant) } } } ?: return
    refuse(
        FindingCode.LORA_SIGNATURE_SHADOWS_BASE,
        "${shadowed.value.take(100)} stands before its variants with LoRA inputs in $name, so LiteRT-LM would run those, with undefined memory for " +
            "an adapter; build the bundle again",
    )
}

private fun loraOf(signature: Signature) = signature.inputs.filterKeys { it.startsWith(LORA_INPUT) }

private fun incomplete(name: String, found: String): Nothing = refuse(
    FindingCode.LORA_INPUTS_INCOMPLETE,
    "the LoRA inputs of the model in $name are not complete: $found; convert the model again",
    "found" to found,
)
