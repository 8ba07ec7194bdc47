package dev.taskbundler.core.training

/** The vector that a trainer file trains: where PEFT's matrices lie in it. docs/LORA.md specifies it. */
class FlatAdapter(private val layers: Int, private val width: Int, private val rank: Int) {
    /** How many numbers the vector has. */
    val count = layers * ofLayer

    /** Of one layer: lora_A and lora_B of c_attn, lora_A and lora_B of c_proj. */
    private val ofLayer get() = 6 * rank * width

    /** The a [width, rank] of an adapter file, row after row, with [scaling] inside. [projection] is q, k, v or o. */
    fun a(vector: FloatArray, projection: String, layer: Int, scaling: Double): FloatArray {
        val start = layer * ofLayer + if (projection == "o") 4 * rank * width else 0
        return FloatArray(width * rank) { (vector[start + (it % rank) * width + it / rank] * scaling).toFloat() }
    }

    /** The b [rank, width] of an adapter file, row after row; for q [queryScale] is inside. */
    fun b(vector: FloatArray, projection: String, layer: Int, queryScale: Double): FloatArray {
        val block = "qkv".indexOf(projection)
        val start = layer * ofLayer + rank * width * if (block < 0) 5 else 1 + block
        val scale = if (projection == "q") queryScale else 1.0
        return FloatArray(rank * width) { (vector[start + (it % width) * rank + it / width] * scale).toFloat() }
    }
}
