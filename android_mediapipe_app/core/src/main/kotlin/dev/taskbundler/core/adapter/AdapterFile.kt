package dev.taskbundler.core.adapter

import dev.taskbundler.core.bundle.PROJECTIONS
import dev.taskbundler.core.bytes.FileBytes
import dev.taskbundler.core.bytes.f32
import java.io.File

/** The name of a LoRA tensor, as engines look for it; [factor] is a or b. */
fun tensorName(projection: String, factor: Char, layer: Int): String = "lora_atten_${projection}_${factor}_prime_weight_$layer"

/** Rows and columns of every tensor an adapter file has to have, in its order. */
fun tensorShapes(layers: Int, width: Int, rank: Int): Map<String, Pair<Int, Int>> {
    val shapes = LinkedHashMap<String, Pair<Int, Int>>()
    for (layer in 0 until layers) {
        for (projection in PROJECTIONS) {
            shapes[tensorName(projection, 'a', layer)] = width to rank
            shapes[tensorName(projection, 'b', layer)] = rank to width
        }
    }
    return shapes
}

/** A checked adapter file: its [header], and where each tensor's float32 values lie in [file], in bytes. They stay on disk. */
class AdapterFile(val file: File, val header: AdapterHeader, private val places: Map<String, Long>) {
    /** The a [width, rank] of a matrix, row after row. */
    fun a(bytes: FileBytes, projection: String, layer: Int): FloatArray = read(bytes, tensorName(projection, 'a', layer))

    /** The b [rank, width] of a matrix, row after row; for q it has the scale of the attention scores inside. */
    fun b(bytes: FileBytes, projection: String, layer: Int): FloatArray = read(bytes, tensorName(projection, 'b', layer))

    private fun read(bytes: FileBytes, name: String): FloatArray {
        val raw = bytes.bytes(places.getValue(name), 4 * header.width * header.rank)
        return FloatArray(raw.size / 4) { raw.f32(4 * it) }
    }
}
