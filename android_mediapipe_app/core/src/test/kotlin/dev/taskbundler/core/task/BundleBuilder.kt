package dev.taskbundler.core.task

import dev.taskbundler.core.formats.FlatWriter
import dev.taskbundler.core.formats.Table
import dev.taskbundler.core.formats.Tables
import dev.taskbundler.core.formats.putF32
import dev.taskbundler.core.tflite.PROJECTIONS

/** GPT-2's METADATA: stop and start token <|endoftext|>. */
val GPT2_METADATA: ByteArray = field(5, "<|endoftext|>") + field(6, "<|endoftext|>")

fun field(number: Int, text: String): ByteArray = byteArrayOf((number * 8 + 2).toByte(), text.toByteArray().size.toByte()) + text.toByteArray()

/** A TFLite file of nothing but signatures. */
fun model(vararg signatures: String, operators: Int = 1): ByteArray = FlatWriter("TFL3").build(
    Table(
        0 to 3,
        2 to Tables(listOf(Table(3 to Tables(List(operators) { Table() })))),
        7 to Tables(signatures.map { Table(2 to it) }),
    ),
)

/** One matrix of a [BundleBuilder]: its entry in the map, as JSON, and its bytes, at the next place of the model. */
class Matrix(val layer: Int, val projection: String, val type: String, val data: ByteArray, val scales: ByteArray? = null, val block: Int = 0)

/** A `.task` whose model is signatures and matrices [width, width], for `layers` = matrices / 4 layers. */
class BundleBuilder(
    val width: Int = 4,
    val matrices: List<Matrix> = floatMatrices(2, 4),
    val fingerprint: String = "f".repeat(64),
    val queryScale: Double = 0.5,
    val ranks: String = "[2, 16]",
    val metadata: ByteArray = GPT2_METADATA,
    val manifest: (String) -> String? = { it },
    val model: ByteArray = model("prefill_8", "decode"),
) {
    fun build(): ByteArray = ZipBuilder(parts()).build()

    fun parts(): List<ZipPart> {
        var content = model
        val map = matrices.joinToString { matrix ->
            val data = content.size
            content += matrix.data
            val scales = matrix.scales?.let { content.size }
            content += matrix.scales ?: ByteArray(0)
            "{\"layer\": ${matrix.layer}, \"projection\": \"${matrix.projection}\", \"type\": \"${matrix.type}\", \"shape\": [$width, $width], " +
                "\"data\": $data, \"scales\": $scales, \"block\": ${matrix.block}}"
        }
        val layers = matrices.size / 4
        val text = manifest(
            "{\"format\": 1, \"name\": \"tiny\", \"recipe\": \"fp32\", \"context\": 96, \"lora\": {\"format\": 1, " +
                "\"base_fingerprint\": \"$fingerprint\", \"layers\": $layers, \"width\": $width, \"query_scale\": [${List(layers) {
                    queryScale
                }.joinToString()}], \"ranks\": $ranks, " +
                "\"merged_adapter\": \"$UNMERGED\", \"tensors\": [$map]}}",
        )
        return listOf(ZipPart(MODEL, content), ZipPart(TOKENIZER, "no tokenizer".toByteArray()), ZipPart(METADATA, metadata)) +
            listOfNotNull(text?.let { ZipPart(MANIFEST, it.toByteArray()) })
    }
}

fun floatMatrices(layers: Int, width: Int): List<Matrix> = (0 until layers).flatMap { layer ->
    PROJECTIONS.map { projection ->
        Matrix(layer, projection, "float32", ByteArray(4 * width * width).also { for (i in 0 until width * width) it.putF32(4 * i, i / 3f - layer) })
    }
}
