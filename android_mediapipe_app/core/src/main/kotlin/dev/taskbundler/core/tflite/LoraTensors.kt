package dev.taskbundler.core.tflite

/** The attention projections, in the order of the adapter file. */
val PROJECTIONS = listOf("q", "k", "v", "o")

/** The name of a LoRA tensor, as engines look for it; [factor] is a or b. */
fun tensorName(projection: String, factor: Char, layer: Int): String = "lora_atten_${projection}_${factor}_prime_weight_$layer"

/** Which of an adapter's matrices a tensor is; [factor] is a or b. */
data class LoraTensor(val projection: String, val factor: Char, val layer: Int)

private val NAME = Regex("lora_atten_([qkvo])_([ab])_prime_weight_(\\d+)")

/** What [tensorName] made [name] of. Throws IllegalArgumentException for another name. */
fun loraTensor(name: String): LoraTensor {
    val (projection, factor, layer) = requireNotNull(NAME.matchEntire(name)) { "$name is no tensor of an adapter" }.destructured
    return LoraTensor(projection, factor[0], layer.toInt())
}

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
