package dev.taskbundler.core.task

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.JsonException
import dev.taskbundler.core.formats.JsonNull
import dev.taskbundler.core.formats.JsonObject
import dev.taskbundler.core.formats.JsonValue
import dev.taskbundler.core.formats.parseJson
import dev.taskbundler.core.tflite.PROJECTIONS

/** The `merged_adapter` of a bundle without one. */
val UNMERGED = "0".repeat(64)

private const val LORA_FORMAT = 1L

/** More than any GPT-2 has (48 and 1600), and few enough that a hostile number does no harm. */
private const val MOST_LAYERS = 1 shl 10
private const val LARGEST_WIDTH = 1 shl 13

/**
 * The manifest in [bytes] of a bundle whose entry [MODEL] has [modelBytes] bytes. [where] is what messages call the file.
 *
 * Throws FindingException if it is no JSON object, or its map of tensors leads elsewhere than into the model.
 */
fun decodeManifest(bytes: ByteArray, modelBytes: Long, where: String): BundleManifest {
    val document = try {
        parseJson(bytes)
    } catch (error: JsonException) {
        refuse(FindingCode.MANIFEST_UNREADABLE, "$MANIFEST in $where is no JSON (${error.message}); build the bundle again", cause = error)
    }
    if (document !is JsonObject) unreadable(where, "is no JSON object")
    return BundleManifest(
        document["name"]?.text,
        document["recipe"]?.text,
        document["context"]?.int(),
        loraFacts(document["lora"], modelBytes, where),
    )
}

private fun loraFacts(lora: JsonValue?, modelBytes: Long, where: String): LoraFacts? {
    if (lora !is JsonObject) return null
    if (lora["format"]?.long() != LORA_FORMAT) {
        unreadable(where, "speaks of LoRA in another format than $LORA_FORMAT; use a release of this app made for it")
    }
    val layers = lora["layers"]?.int()?.takeIf { it in 1..MOST_LAYERS } ?: unreadable(where, "has no number of layers")
    val width = lora["width"]?.int()?.takeIf { it in 1..LARGEST_WIDTH } ?: unreadable(where, "has no width")
    val queryScale = lora["query_scale"]?.array?.mapNotNull { it.double() }
    if (queryScale?.size != layers) unreadable(where, "has ${queryScale?.size ?: "no"} query scales for $layers layers")
    val merged = lora["merged_adapter"]?.text ?: unreadable(where, "does not name merged_adapter")
    return LoraFacts(
        baseFingerprint = lora["base_fingerprint"]?.text,
        layers = layers,
        width = width,
        queryScale = queryScale,
        ranks = lora["ranks"]?.array?.mapNotNull { it.int() } ?: unreadable(where, "has no list of ranks"),
        mergedAdapter = merged.takeIf { it != UNMERGED },
        tensors = lora["tensors"]?.let { tensorMap(it, layers, width, modelBytes, where) },
        unmergeable = lora["unmergeable"]?.text ?: "its manifest has no map of tensors".takeIf { lora["tensors"] == null },
    )
}

/** The map: each layer's four matrices once, apart from each other, inside of the model. */
private fun tensorMap(list: JsonValue, layers: Int, width: Int, modelBytes: Long, where: String): List<MappedTensor> {
    val tensors = list.array?.map { mappedTensor(it, width) ?: contradicts(where, "has an entry that describes no matrix of width $width") }
        ?: contradicts(where, "is no list")
    val expected = (0 until layers).flatMap { layer -> PROJECTIONS.map { layer to it } }
    if (tensors.size != expected.size || tensors.map { it.layer to it.projection }.toSet() != expected.toSet()) {
        contradicts(where, "does not name the four matrices of each of $layers layers once")
    }
    var end = 0L
    for ((start, size) in tensors.flatMap { listOfNotNull(it.data to it.dataBytes, it.scales?.to(it.scalesBytes)) }.sortedBy { it.first }) {
        if (start < end) contradicts(where, "has matrices that share bytes or lie outside of the model")
        end = start + size
    }
    if (end > modelBytes) contradicts(where, "reaches to byte $end of a model of $modelBytes")
    return tensors
}

private fun mappedTensor(entry: JsonValue, width: Int): MappedTensor? {
    val type = WeightType.entries.find { it.written == entry["type"]?.text } ?: return null
    val block = entry["block"]?.int() ?: return null
    val scales = entry["scales"]?.long()
    val data = entry["data"]?.long() ?: return null
    val placed = data in 0..FARTHEST && (scales ?: 0) in 0..FARTHEST && (scales == null) == type.isFloat
    val scaleGiven = scales != null || entry["scales"] == null || entry["scales"] == JsonNull
    val blocks = block == 0 || (!type.isFloat && block > 0 && width % block == 0)
    // An odd row of int4 would share a byte with the next.
    val whole = type != WeightType.INT4 || (width % 2 == 0 && block % 2 == 0)
    if (!placed || !scaleGiven || !blocks || !whole || entry["shape"]?.array?.map { it.int() } != listOf(width, width)) return null
    return MappedTensor(entry["layer"]?.int() ?: return null, entry["projection"]?.text ?: return null, type, width, data, scales, block)
}

/** Bytes: no sum with a size overflows. */
private const val FARTHEST = 1L shl 48

private fun unreadable(where: String, found: String): Nothing =
    refuse(FindingCode.MANIFEST_UNREADABLE, "$MANIFEST in $where $found; build the bundle again", "found" to found)

private fun contradicts(where: String, found: String): Nothing =
    refuse(FindingCode.MANIFEST_CONTRADICTS, "the map of tensors in the $MANIFEST of $where $found; build the bundle again", "found" to found)
