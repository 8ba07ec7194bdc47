package dev.taskbundler.core.adapter

/** What an adapter file says about itself; docs/LORA.md specifies it. */
data class AdapterHeader(
    val name: String,
    val layers: Int,
    val width: Int,
    val rank: Int,
    val queryScale: List<Double>,
    val alpha: Double?,
    val licence: String?,
    val baseFingerprint: String?,
)
