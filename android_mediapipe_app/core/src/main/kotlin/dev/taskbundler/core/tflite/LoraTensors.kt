package dev.taskbundler.core.tflite

/** The attention projections, in the order of the adapter file. */
val PROJECTIONS = listOf("q", "k", "v", "o")

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
