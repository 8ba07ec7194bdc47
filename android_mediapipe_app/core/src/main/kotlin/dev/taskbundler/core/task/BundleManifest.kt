package dev.taskbundler.core.task

/** What a bundle of this project says about itself in its entry MANIFEST. Other makers' bundles have none. */
data class BundleManifest(
    val name: String?,
    val recipe: String?,
    /** Tokens that prompt and answer may have together. */
    val context: Int?,
    val lora: LoraFacts?,
)

/** The manifest's `lora`; docs/LORA.md specifies it. */
data class LoraFacts(
    val baseFingerprint: String?,
    val layers: Int,
    val width: Int,
    val queryScale: List<Double>,
    /** Ranks of adapters that an engine with LoRA support can be given. */
    val ranks: List<Int>,
    /** SHA-256 of the adapter file that is merged in, or null. */
    val mergedAdapter: String?,
    /** Where the attention matrices lie; null if nothing can be merged. */
    val tensors: List<MappedTensor>?,
    /** Why nothing can be merged into this bundle, or null. */
    val unmergeable: String?,
)
