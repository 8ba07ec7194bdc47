package dev.taskbundler.core.adapter

import dev.taskbundler.core.formats.encodeJson
import dev.taskbundler.core.formats.parseJson

/** What an adapter file says about itself; docs/LORA.md specifies it. [queryScale] (per layer) is inside the tensors of q. */
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

private const val FORMAT = 1L

/** Limits that no GPT-2 reaches (48 layers, width 1600), so that what one tensor takes (4 bytes times width times rank) has room in a phone's heap. */
private const val MOST_LAYERS = 1 shl 10
private const val LARGEST_WIDTH = 1 shl 13
private const val LARGEST_RANK = 1 shl 9

/** The header in [bytes]. Throws JsonException or FindingException; [where] is what messages call the file. */
internal fun decodeAdapterHeader(bytes: ByteArray, where: String): AdapterHeader {
    val document = parseJson(bytes)
    if (document["format"]?.long() != FORMAT) {
        unreadable(where, "has a header of another format than $FORMAT; use a release of this app made for it")
    }

    fun number(field: String, limit: Int): Int =
        document[field]?.int()?.takeIf { it in 1..limit } ?: unreadable(where, "has no usable $field in its header")
    val layers = number("layers", MOST_LAYERS)
    val queryScale = document["query_scale"]?.array?.mapNotNull { it.double() }
    if (queryScale?.size != layers) unreadable(where, "has ${queryScale?.size ?: "no"} query scales for $layers layers")
    return AdapterHeader(
        name = document["name"]?.text ?: unreadable(where, "has no name in its header"),
        layers = layers,
        width = number("width", LARGEST_WIDTH),
        rank = number("rank", LARGEST_RANK),
        queryScale = queryScale,
        alpha = document["alpha"]?.double(),
        licence = document["licence"]?.text,
        baseFingerprint = document["base_fingerprint"]?.text,
    )
}

/** The header as it stands in a file, in the form that the project's Python gives it. */
internal fun encodeAdapterHeader(header: AdapterHeader): String = encodeJson(
    mapOf(
        "format" to FORMAT,
        "name" to header.name,
        "layers" to header.layers,
        "width" to header.width,
        "rank" to header.rank,
        "query_scale" to header.queryScale,
        "alpha" to header.alpha,
        "licence" to header.licence,
        "base_fingerprint" to header.baseFingerprint,
    ),
)
