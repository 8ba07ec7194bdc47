package dev.taskbundler.core.merge

/**
 * The change an adapter makes to a matrix, row by row: b[·,o]·a, summed as docs/LORA.md says.
 *
 * [a] is [width, rank] and [b] [rank, width], row after row.
 */
internal class LowRankChange(a: FloatArray, private val b: FloatArray, private val width: Int) {
    private val rank = b.size / width

    /** a by columns, in float64: the product of two float32 is exact there, so only the order of the additions matters. */
    private val columns = Array(rank) { k -> DoubleArray(width) { i -> a[i * rank + k].toDouble() } }
    private val sum = DoubleArray(width)

    /** Whether nothing at all changes. */
    val none: Boolean = a.all { it == 0f } || b.all { it == 0f }

    /** The change of row [o], into [change]. */
    fun row(o: Int, change: FloatArray) {
        sum.fill(0.0)
        for (k in 0 until rank) {
            val factor = b[k * width + o].toDouble()
            // What it would add is zero, and no sum is a negative zero: leaving it out is exact.
            if (factor != 0.0) addScaled(columns[k], factor)
        }
        for (i in 0 until width) change[i] = sum[i].toFloat()
    }

    // A function of its own, small enough for the JIT to make vector instructions of the loop.
    private fun addScaled(column: DoubleArray, factor: Double) {
        val sum = sum
        for (i in sum.indices) sum[i] += factor * column[i]
    }
}
