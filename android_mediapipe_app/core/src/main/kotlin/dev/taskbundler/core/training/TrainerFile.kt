package dev.taskbundler.core.training

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.formats.FlatTable
import dev.taskbundler.core.formats.JsonValue
import dev.taskbundler.core.formats.parseJson
import dev.taskbundler.core.formats.readFlatbuffer
import dev.taskbundler.core.formats.rootTable
import dev.taskbundler.core.tflite.BufferField
import dev.taskbundler.core.tflite.ModelField
import dev.taskbundler.core.tflite.NamedField
import dev.taskbundler.core.tflite.SignatureField
import dev.taskbundler.core.tflite.SubgraphField
import dev.taskbundler.core.tflite.TensorField
import dev.taskbundler.core.tflite.metadata
import java.io.File

private const val OWN_METADATA = "task_bundler_trainer"

/** Bytes; a header takes 4 thousand with 100 layers. */
private const val HEADER_LIMIT = 1 shl 20

/** Signatures, metadata and buffers of a trainer file; GPT-2 XL's has some five thousand buffers. */
internal const val MOST_ELEMENTS = 1 shl 17

/** Limits that no GPT-2 reaches (48 layers, width 1600), so that an adapter has room in a phone's heap. */
private const val MOST_LAYERS = 1 shl 10
private const val LARGEST_WIDTH = 1 shl 13
private const val LARGEST_VECTOR = 1 shl 26

private val TRAIN = Regex("train_(\\d{1,6})_r(\\d{1,4})")

/** What a trainer file says of itself; docs/LORA.md specifies it. [length]: the tokens of a sequence. [queryScale] is per layer. */
data class TrainerFacts(
    val layers: Int,
    val width: Int,
    val rank: Int,
    val length: Int,
    val queryScale: List<Double>,
    val fingerprint: String?,
    val memory: TrainingMemory,
) {
    /** Numbers of an adapter. */
    val count get() = FlatAdapter(layers, width, rank).count
}

/** Whether a sound TFLite file is a trainer, by its metadata. What cannot be read is none. */
fun isTrainer(file: File): Boolean {
    FileBytes(file).use { bytes ->
        return readFlatbuffer({ _, _ -> return false }) { OWN_METADATA in metadata(rootTable(bytes), MOST_ELEMENTS) }
    }
}

/** Read and check a trainer file; its weights are not read. Throws FindingException. [name] is what messages call the file. */
fun readTrainer(file: File, name: String = file.name): TrainerFacts = FileBytes(file).use { bytes ->
    readFlatbuffer({ found, error -> unreadable(name, found, error) }) { TrainerReader(bytes, name).read() }
}

private class TrainerReader(private val bytes: FileBytes, private val name: String) {
    private val model = rootTable(bytes)
    private val graphs = model.tables(ModelField.SUBGRAPHS).atMost(MOST_ELEMENTS)

    fun read(): TrainerFacts {
        val listed = model.tables(ModelField.SIGNATURES).atMost(MOST_ELEMENTS)
        val signatures = (0 until listed.size).map { listed.table(it) }.associateBy { it.text(SignatureField.KEY).orEmpty() }
        val key = signatures.keys.firstOrNull { TRAIN.matches(it) } ?: unreadable(name, "has the signatures ${shown(signatures.keys)}")
        val (length, rank) = TRAIN.matchEntire(key)!!.destructured.toList().map { it.toInt() }
        val evaluate = "eval_${length}_r$rank"
        for (needed in listOf(evaluate, "init_r$rank")) if (needed !in signatures) unreadable(name, "has no signature $needed")
        val header = header()
        val layers = number(header, "layers", MOST_LAYERS)
        val width = number(header, "width", LARGEST_WIDTH)
        val count = 6L * layers * width * rank
        if (rank < 1 || length < 2 || count > LARGEST_VECTOR) unreadable(name, "has sequences of $length tokens and adapters of $count numbers")
        val queryScale = header["query_scale"]?.array?.mapNotNull { it.double() }
        if (queryScale?.size != layers) unreadable(name, "has ${queryScale?.size ?: "no"} query scales for $layers layers")
        for ((input, shape) in listOf("adapter" to listOf(count.toInt()), "tokens" to listOf(1, length))) {
            val found = shape(signatures.getValue(key), input)
            if (found != shape) unreadable(name, "takes $input as $found and not as $shape")
        }
        val (step, measurement) = listOf(key, evaluate).map { graphMemory(graph(signatures.getValue(it)), model) }
        // On the side of the loop: what goes into a step and what comes out, of four vectors each.
        val state = 2 * 4 * Float.SIZE_BYTES * count
        val memory = TrainingMemory(bytes.size, BYTES_KEPT_OF_WEIGHT * step.constants, step.peak + measurement.peak, state)
        return TrainerFacts(layers, width, rank, length, queryScale, header["fingerprint"]?.text, memory)
    }

    private fun header(): JsonValue {
        val buffers = model.tables(ModelField.BUFFERS).atMost(MOST_ELEMENTS)
        val index = metadata(model, MOST_ELEMENTS)[OWN_METADATA] ?: unreadable(name, "lacks the metadata $OWN_METADATA")
        val data =
            buffers.table(if (index < buffers.size) index.toInt() else -1).vector(BufferField.DATA, 1) ?: unreadable(name, "has an empty header")
        return parseJson(data.bytes(HEADER_LIMIT))
    }

    private fun number(header: JsonValue, field: String, limit: Int): Int =
        header[field]?.int()?.takeIf { it in 1..limit } ?: unreadable(name, "has no usable $field in its header")

    private fun graph(signature: FlatTable): FlatTable = graphs.table(minOf(signature.u32(SignatureField.SUBGRAPH), Int.MAX_VALUE.toLong()).toInt())

    private fun shape(signature: FlatTable, input: String): List<Int> {
        val inputs = signature.tables(SignatureField.INPUTS).atMost(MOST_ELEMENTS)
        val entry = (0 until inputs.size).map { inputs.table(it) }.find { it.text(NamedField.NAME) == input } ?: unreadable(name, "takes no $input")
        val tensors = graph(signature).tables(SubgraphField.TENSORS)
        return dimensions(tensors.table(minOf(entry.u32(NamedField.TENSOR), Int.MAX_VALUE.toLong()).toInt()))
    }
}

/** Of a tensor; more than eight are none that a model has. */
internal fun dimensions(tensor: FlatTable): List<Int> {
    val shape = tensor.vector(TensorField.SHAPE, 4) ?: return emptyList()
    return List(minOf(shape.size, 8)) { shape.i32(it) }
}

private fun shown(keys: Collection<String>) = keys.joinToString().ifEmpty { "none" }.take(200)

private fun unreadable(name: String, found: String, cause: Throwable? = null): Nothing = refuse(
    FindingCode.APP_TRAINER_UNREADABLE,
    "$name $found; expected a trainer file of `task-bundler build --trainer`; copy it again, or build it again",
    "found" to found,
    cause = cause,
)
