package dev.taskbundler.core.adapter

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.formats.FlatTable
import dev.taskbundler.core.formats.FlatVector
import dev.taskbundler.core.formats.FlatbufferException
import dev.taskbundler.core.formats.f32
import dev.taskbundler.core.formats.readFlatbuffer
import dev.taskbundler.core.formats.rootTable
import dev.taskbundler.core.tflite.BufferField
import dev.taskbundler.core.tflite.FLOAT32_TENSOR
import dev.taskbundler.core.tflite.ModelField
import dev.taskbundler.core.tflite.SubgraphField
import dev.taskbundler.core.tflite.TensorField
import dev.taskbundler.core.tflite.metadata
import dev.taskbundler.core.tflite.tensorName
import dev.taskbundler.core.tflite.tensorShapes
import java.io.File

internal const val IDENTIFIER = "TFL3"
private const val IDENTIFIER_AT = 4L
internal const val RANK_METADATA = "lora_rank"
internal const val OWN_METADATA = "task_bundler_adapter"

/** Bytes: the largest page of Android devices, to a multiple of which LiteRT-LM maps the file. */
internal const val PAGE = 16384

/** Bytes: a flatbuffer's limit. */
private const val LARGEST = 1L shl 31
private const val HEADER_LIMIT = 1 shl 20

/** Tensors, and lists of the flatbuffer as a whole: GPT-2 XL's adapter has 384. More would keep a phone busy for nothing. */
private const val MOST_ELEMENTS = 1 shl 14

/**
 * Read and check an adapter file; docs/LORA.md specifies it. The values are read once, to see that they are finite.
 *
 * Throws FindingException for anything that `task-bundler lora export` would not have written. [name] is what messages call the file.
 */
fun readAdapter(file: File, name: String = file.name): AdapterFile = reading(file, name) { AdapterFile(file, it.header(), it.tensors()) }

/** What an adapter file says about itself, quickly: its tensors are not looked at. Throws FindingException as [readAdapter] does. */
fun readAdapterHeader(file: File, name: String = file.name): AdapterHeader = reading(file, name) { it.header() }

private fun <T> reading(file: File, name: String, read: (AdapterReader) -> T): T = FileBytes(file).use { bytes ->
    if (bytes.size > LARGEST) unreadable(name, "has ${bytes.size} bytes; an adapter file has at most $LARGEST")
    readFlatbuffer({ found, error -> unreadable(name, found, error) }) { read(AdapterReader(bytes, name)) }
}

private class AdapterReader(private val bytes: FileBytes, private val name: String) {
    private val model by lazy { rootTable(bytes) }
    private val buffers by lazy { model.tables(ModelField.BUFFERS).atMost(MOST_ELEMENTS) }
    private lateinit var header: AdapterHeader

    fun header(): AdapterHeader {
        if (String(bytes.bytes(IDENTIFIER_AT, IDENTIFIER.length), Charsets.ISO_8859_1) != IDENTIFIER) unreadable(name, "is no TFLite flatbuffer")
        val places = metadata(model, MOST_ELEMENTS)
        val own = places[OWN_METADATA] ?: refuse(
            FindingCode.APP_KIND_UNUSED,
            "$name is a TFLite file without the metadata $OWN_METADATA: no adapter file; give what `task-bundler lora export` wrote, or a .task",
            "kind" to "TFLite",
        )
        if (bytes.size % PAGE != 0L) {
            refuse(
                FindingCode.ADAPTER_SIZE_NO_PAGE_MULTIPLE,
                "$name has ${bytes.size} bytes, no multiple of $PAGE; it may be cut short: copy it again, or export it again",
                "size" to bytes.size,
            )
        }
        header = decodeAdapterHeader(data(buffer(own)).bytes(HEADER_LIMIT), name)
        // The format's oddity: this "buffer" is no index, but the rank itself.
        val rank = places[RANK_METADATA]
            ?: refuse(FindingCode.ADAPTER_RANK_MISSING, "$name has no metadata $RANK_METADATA; expected ${header.rank}; export the adapter again")
        if (rank != header.rank.toLong()) {
            refuse(
                FindingCode.ADAPTER_RANK_WRONG,
                "$name says rank $rank in its metadata and ${header.rank} in its header; export the adapter again",
                "rank" to header.rank,
            )
        }
        return header
    }

    /** Where each tensor's values lie. */
    fun tensors(): Map<String, Long> {
        val expected = tensorShapes(header.layers, header.width, header.rank)
        val graphs = model.tables(ModelField.SUBGRAPHS)
        val listed = graphs.table(0).tables(SubgraphField.TENSORS).atMost(MOST_ELEMENTS)
        val places = LinkedHashMap<String, Long>()
        for (index in 0 until listed.size) {
            val tensor = listed.table(index)
            val tensorName = tensor.text(TensorField.NAME) ?: throw FlatbufferException("a tensor without a name")
            val shape = expected[tensorName]
            if (shape == null || tensorName in places) {
                refuse(
                    FindingCode.ADAPTER_TENSOR_EXTRA,
                    "$name holds ${tensorName.take(100)}, which an adapter of ${header.layers} layers does not have, or has once; export it again",
                    "tensor" to tensorName,
                )
            }
            places[tensorName] = place(tensor, tensorName, shape)
        }
        val missing = expected.keys.filter { it !in places }
        if (missing.isNotEmpty()) {
            refuse(
                FindingCode.ADAPTER_TENSOR_MISSING,
                "$name lacks ${missing.size} of ${expected.size} tensors, first ${missing[0]}; an engine would use undefined memory in " +
                    "their place; export the adapter again",
                "tensor" to missing[0],
            )
        }
        return places
    }

    private fun place(tensor: FlatTable, tensorName: String, expected: Pair<Int, Int>): Long {
        val dimensions = tensor.vector(TensorField.SHAPE, 4)
        val shape = List(minOf(dimensions?.size ?: 0, 8)) { dimensions!!.i32(it) }
        val buffer = buffer(tensor.u32(TensorField.BUFFER))
        val data = data(buffer)
        if (shape != expected.toList() || tensor.byte(TensorField.TYPE) != FLOAT32_TENSOR || data.size != 4 * expected.first * expected.second) {
            refuse(
                FindingCode.ADAPTER_TENSOR_MISSHAPEN,
                "$tensorName in $name has the shape $shape and ${data.size} bytes, expected float32 of ${expected.toList()}; export the adapter again",
                "tensor" to tensorName,
            )
        }
        if (buffer.i64(BufferField.OFFSET) != data.at || buffer.i64(BufferField.SIZE) != data.size.toLong()) {
            refuse(
                FindingCode.ADAPTER_LAYOUT_IGNORED,
                "$tensorName lies at byte ${data.at} of $name, but LiteRT-LM is told ${buffer.i64(BufferField.SIZE)} bytes at " +
                    "${buffer.i64(BufferField.OFFSET)}; export the adapter again",
                "tensor" to tensorName,
            )
        }
        val raw = data.bytes(Int.MAX_VALUE)
        val wrong = (raw.indices step 4).count { !raw.f32(it).isFinite() }
        if (wrong > 0) {
            refuse(
                FindingCode.ADAPTER_NOT_FINITE,
                "$tensorName in $name has $wrong NaN or infinite values out of ${raw.size / 4}: training diverged or the file is damaged; " +
                    "give an earlier state of the adapter",
                "tensor" to tensorName,
            )
        }
        return data.at
    }

    private fun buffer(index: Long): FlatTable = buffers.table(if (index < buffers.size) index.toInt() else -1)

    private fun data(buffer: FlatTable): FlatVector = buffer.vector(BufferField.DATA, 1) ?: throw FlatbufferException("a buffer without data")
}

internal fun unreadable(name: String, found: String, cause: Throwable? = null): Nothing = refuse(
    FindingCode.ADAPTER_UNREADABLE,
    "$name $found; expected a sound adapter file; copy it again, or export it again",
    "found" to found,
    cause = cause,
)
