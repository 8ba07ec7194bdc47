package dev.taskbundler.core.tflite

/** The attention projections, in the order of the adapter file. */
val PROJECTIONS = listOf("q", "k", "v", "o")

/** The name of a LoRA tensor, as engines look for it; [factor] is a or b. */
fun tensorName(projection: String, factor: Char, layer: Int): String = "lora_atten_${projection}_${factor}_prime_weight_$layer"

/** One of an adapter's matrices; [factor] is a or b. */
data class LoraTensor(val projection: String, val factor: Char, val layer: Int) {
    val name get() = tensorName(projection, factor, layer)
}

/** Every matrix that an adapter file has to have, in its order. */
fun loraTensors(layers: Int): List<LoraTensor> = (0 until layers).flatMap { layer ->
    PROJECTIONS.flatMap { projection -> "ab".map { factor -> LoraTensor(projection, factor, layer) } }
}

/** Their rows and columns, by name. */
fun tensorShapes(layers: Int, width: Int, rank: Int): Map<String, Pair<Int, Int>> =
    loraTensors(layers).associate { it.name to if (it.factor == 'a') width to rank else rank to width }
