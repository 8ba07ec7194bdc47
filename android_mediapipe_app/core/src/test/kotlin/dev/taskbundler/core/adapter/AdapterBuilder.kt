package dev.taskbundler.core.adapter

import dev.taskbundler.core.formats.Bytes
import dev.taskbundler.core.formats.FlatWriter
import dev.taskbundler.core.formats.Ints
import dev.taskbundler.core.formats.Table
import dev.taskbundler.core.formats.Tables
import dev.taskbundler.core.formats.putF32
import dev.taskbundler.core.tflite.tensorShapes

fun floats(values: FloatArray): ByteArray = ByteArray(4 * values.size).also { for ((i, value) in values.withIndex()) it.putF32(4 * i, value) }

/** A tensor of an adapter file as a test wants it; a sound one has its values inside and says so twice. */
class AdapterTensor(
    val name: String?,
    val values: FloatArray,
    val shape: List<Int>,
    val type: Byte = 0,
    val shift: Long = 0,
    val outside: Boolean = true,
    val buffer: Int? = null,
)

/** An adapter file in which everything can be wrong: 2 layers, width 4, rank 2, unless told otherwise. */
class AdapterBuilder(
    val layers: Int = 2,
    val width: Int = 4,
    val rank: Int = 2,
    val fingerprint: String? = "f".repeat(64),
    val queryScale: Double = 0.5,
    val header: String? = null,
    val rankMetadata: Int? = rank,
    val ownMetadata: String = "task_bundler_adapter",
    val ownBuffer: Int? = null,
    val graphs: Boolean = true,
    val page: Int = 16384,
    val announced: Int? = null,
    val value: (String, Int) -> Float = { name, index -> (name.hashCode() % 7 + index) / 8f },
    val tensors: (List<AdapterTensor>) -> List<AdapterTensor> = { it },
) {
    fun build(): ByteArray {
        val listed = tensors(
            tensorShapes(layers, width, rank).map { (name, shape) ->
                AdapterTensor(name, FloatArray(shape.first * shape.second) { value(name, it) }, shape.toList())
            },
        )
        val blobs = listed.map { Bytes(floats(it.values), 16) }
        // Places do not depend on what is written at them: once to find them, once with them.
        val places = FlatWriter("TFL3").apply { build(model(listed, blobs, emptyMap())) }.places
        val bytes = FlatWriter("TFL3").build(model(listed, blobs, places))
        return bytes + ByteArray((page - bytes.size % page) % page)
    }

    private fun model(listed: List<AdapterTensor>, blobs: List<Bytes>, places: Map<Bytes, Int>): Table {
        val buffers = blobs.zip(listed).map { (blob, tensor) ->
            val place = (places[blob] ?: 0) + tensor.shift
            if (tensor.outside) Table(0 to blob, 1 to place, 2 to blob.bytes.size.toLong()) else Table(0 to blob)
        }
        val own = Table(0 to Bytes((header ?: plainHeader()).toByteArray()))
        val subgraph = Table(
            0 to Tables(
                listed.mapIndexed { index, tensor ->
                    val fields = listOf(0 to Ints(tensor.shape), 1 to tensor.type, 2 to (tensor.buffer ?: (index + 1)))
                    Table(*(fields + listOfNotNull(tensor.name?.let { 3 to it })).toTypedArray())
                },
                announced ?: listed.size,
            ),
        )
        val metadata = listOfNotNull(
            rankMetadata?.let { Table(0 to "lora_rank", 1 to it) },
            Table(0 to ownMetadata, 1 to (ownBuffer ?: (listed.size + 1))),
            Table(1 to 0),
        )
        return Table(
            0 to 3,
            2 to Tables(if (graphs) listOf(subgraph) else emptyList()),
            4 to Tables(listOf(Table()) + buffers + own),
            6 to Tables(metadata),
        )
    }

    fun plainHeader(
        format: String = "1",
        name: String = "\"test\"",
        layers: String = "${this.layers}",
        width: String = "${this.width}",
        rank: String = "${this.rank}",
        scales: String = List(this.layers) { queryScale }.joinToString(),
    ) = "{\"format\": $format, \"name\": $name, \"layers\": $layers, \"width\": $width, \"rank\": $rank, \"query_scale\": [$scales], " +
        "\"alpha\": 4.0, \"licence\": \"mit\", \"base_fingerprint\": ${fingerprint?.let { "\"$it\"" }}}"
}
