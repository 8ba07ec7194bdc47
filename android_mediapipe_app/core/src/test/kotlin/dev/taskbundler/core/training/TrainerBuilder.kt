package dev.taskbundler.core.training

import dev.taskbundler.core.formats.Bytes
import dev.taskbundler.core.formats.FlatWriter
import dev.taskbundler.core.formats.Ints
import dev.taskbundler.core.formats.Table
import dev.taskbundler.core.formats.Tables

private const val FLOAT = 0.toByte()
private const val INT = 2.toByte()
private const val INT8 = 9.toByte()

/** A trainer file without a model, in which everything can be wrong: three operators between the inputs of a step and its loss. */
class TrainerBuilder(
    val layers: Int = 2,
    val width: Int = 4,
    val rank: Int = 2,
    val length: Int = 4,
    val fingerprint: String = "f".repeat(64),
    val queryScale: Double = 0.5,
    val header: String? = null,
    val metadata: String = "task_bundler_trainer",
    val count: Int = 6 * layers * width * rank,
    val signatures: (List<String>) -> List<String> = { it },
    val operand: Int = 3,
) {
    fun build(): ByteArray {
        val keys = signatures(listOf("train_${length}_r$rank", "eval_${length}_r$rank", "init_r$rank"))
        val constant = Bytes(ByteArray(1000))
        val own = Bytes((header ?: plainHeader()).toByteArray())
        return FlatWriter("TFL3").build(
            Table(
                0 to 3,
                2 to Tables(listOf(graph())),
                4 to Tables(listOf(Table(), Table(0 to constant), Table(0 to own))),
                6 to Tables(listOf(Table(0 to metadata, 1 to 2))),
                7 to Tables(keys.map { Table(0 to Tables(listOf(Table(0 to "tokens", 1 to 0), Table(0 to "adapter", 1 to 1))), 2 to it, 4 to 0) }),
            ),
        )
    }

    private fun graph() = Table(
        0 to Tables(
            listOf(
                tensor(INT, 1, length),
                tensor(FLOAT, count),
                Table(0 to Ints(listOf(10, 100)), 1 to INT8, 2 to 1),
                tensor(FLOAT, 10, 10),
                tensor(FLOAT, 50),
                tensor(FLOAT, 1),
            ),
        ),
        1 to Ints(listOf(0, 1)),
        2 to Ints(listOf(5)),
        3 to Tables(listOf(operator(listOf(0, 2, -1), 3), operator(listOf(operand), 4), operator(listOf(4, 1), 5))),
    )

    private fun tensor(type: Byte, vararg shape: Int) = Table(0 to Ints(shape.toList()), 1 to type, 2 to 0)

    private fun operator(inputs: List<Int>, output: Int) = Table(1 to Ints(inputs), 2 to Ints(listOf(output)))

    fun plainHeader(layers: String = "${this.layers}", width: String = "${this.width}", scales: Int = this.layers) =
        "{\"layers\": $layers, \"width\": $width, \"query_scale\": [${List(scales) { queryScale }.joinToString()}], " +
            "\"fingerprint\": \"$fingerprint\"}"
}
