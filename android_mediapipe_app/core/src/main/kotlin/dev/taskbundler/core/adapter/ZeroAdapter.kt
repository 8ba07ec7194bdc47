package dev.taskbundler.core.adapter

import dev.taskbundler.core.formats.BackwardsWriter
import dev.taskbundler.core.formats.putF32
import dev.taskbundler.core.tflite.BufferField
import dev.taskbundler.core.tflite.LoraTensor
import dev.taskbundler.core.tflite.MetadataField
import dev.taskbundler.core.tflite.ModelField
import dev.taskbundler.core.tflite.SubgraphField
import dev.taskbundler.core.tflite.TensorField
import dev.taskbundler.core.tflite.loraTensors
import dev.taskbundler.core.tflite.tensorShapes
import java.io.File
import java.io.RandomAccessFile

private const val SCHEMA_VERSION = 3
private const val DESCRIPTION = "lora_params"

/** Bytes, on a multiple of which a buffer's data lies: the schema's force_align. */
private const val DATA_ALIGNMENT = 16

/**
 * Write to [file] the adapter that changes nothing, for a model of this shape: what a session of LiteRT-LM has to be given for the base's
 * own behaviour. docs/LORA.md specifies the bytes, which are those that the project's Python writes.
 *
 * [baseFingerprint] is 64 hexadecimal digits, or null. The scale of the scores is said to be 1, as zeros fit every scale. The file is
 * brought to the disk; it takes some memory for each tensor, but none for its zeros.
 */
fun writeZeroAdapter(file: File, layers: Int, width: Int, rank: Int, baseFingerprint: String?) {
    writeAdapter(file, AdapterHeader("zero", layers, width, rank, List(layers) { 1.0 }, null, null, baseFingerprint)) { null }
}

/**
 * Write an adapter file. [values] gives a tensor's numbers, row after row, or null for zeros; it is asked for each tensor once,
 * in the order of the file. The file is brought to the disk.
 */
fun writeAdapter(file: File, header: AdapterHeader, values: (LoraTensor) -> FloatArray?) {
    val shapes = tensorShapes(header.layers, header.width, header.rank)
    val content = layOut(shapes, header.rank, encodeAdapterHeader(header))
    RandomAccessFile(file, "rw").use { access ->
        // Emptied first: what is not written is zeros.
        access.setLength(0)
        access.setLength((content.writer.size + PAGE - 1) / PAGE * PAGE)
        content.writer.write(access)
        for ((tensor, data) in loraTensors(header.layers).zip(content.tensors)) {
            val numbers = values(tensor) ?: continue
            access.seek(content.writer.size - data.values)
            access.write(ByteArray(4 * numbers.size).also { bytes -> numbers.forEachIndexed { i, number -> bytes.putF32(4 * i, number) } })
        }
        access.fd.sync()
    }
}

private class Content(val writer: BackwardsWriter, val tensors: List<TensorData>)

private fun layOut(shapes: Map<String, Pair<Int, Int>>, rank: Int, header: String): Content {
    val writer = BackwardsWriter()
    val data = ArrayList<TensorData>()
    // Buffer 0 is the empty one by convention; then one for each tensor; then the header.
    val buffers = ArrayList<Long>()
    buffers += writer.table(BufferField.COUNT) {}
    for ((rows, columns) in shapes.values) {
        val size = 4L * rows * columns
        val vector = writer.zeros(size, DATA_ALIGNMENT)
        buffers += writer.table(BufferField.COUNT) {
            reference(BufferField.DATA, vector)
            // Where the data lies is known when everything is there.
            data += TensorData(i64(BufferField.OFFSET, 0), vector)
            i64(BufferField.SIZE, size)
        }
    }
    val own = writer.bytes(header.toByteArray(), DATA_ALIGNMENT)
    buffers += writer.table(BufferField.COUNT) { reference(BufferField.DATA, own) }
    val subgraph = writer.subgraph(shapes)
    val listedGraphs = writer.references(listOf(subgraph.place))
    val metadata = listOf(writer.metadata(RANK_METADATA, rank), writer.metadata(OWN_METADATA, buffers.size - 1))
    val listedMetadata = writer.references(metadata)
    val listedBuffers = writer.references(buffers)
    val model = writer.table(ModelField.COUNT) {
        i32(ModelField.VERSION, SCHEMA_VERSION)
        reference(ModelField.OPERATOR_CODES, subgraph.operatorCodes)
        reference(ModelField.SUBGRAPHS, listedGraphs)
        reference(ModelField.DESCRIPTION, subgraph.name)
        reference(ModelField.BUFFERS, listedBuffers)
        reference(ModelField.METADATA, listedMetadata)
    }
    writer.finish(model, IDENTIFIER)
    for (tensor in data) writer.point(tensor.offsetField, tensor.values)
    return Content(writer, data)
}

/** [vector] begins with its length, in four bytes. */
private class TensorData(val offsetField: Long, vector: Long) {
    val values = vector - 4
}

private class Subgraph(val place: Long, val name: Long, val operatorCodes: Long)

private fun BackwardsWriter.subgraph(shapes: Map<String, Pair<Int, Int>>): Subgraph {
    val tensors = shapes.entries.mapIndexed { index, (tensor, shape) ->
        val name = text(tensor)
        val dimensions = numbers(shape.toList())
        table(TensorField.COUNT) {
            reference(TensorField.SHAPE, dimensions)
            // Its type, float32, is the schema's default and takes no place.
            i32(TensorField.BUFFER, index + 1)
            reference(TensorField.NAME, name)
        }
    }
    val (inputs, outputs, operators, operatorCodes) = List(4) { references(emptyList()) }
    val listed = references(tensors)
    val name = text(DESCRIPTION)
    val place = table(SubgraphField.COUNT) {
        reference(SubgraphField.TENSORS, listed)
        reference(SubgraphField.INPUTS, inputs)
        reference(SubgraphField.OUTPUTS, outputs)
        reference(SubgraphField.OPERATORS, operators)
        reference(SubgraphField.NAME, name)
    }
    return Subgraph(place, name, operatorCodes)
}

private fun BackwardsWriter.metadata(name: String, buffer: Int): Long {
    val text = text(name)
    return table(MetadataField.COUNT) {
        reference(MetadataField.NAME, text)
        i32(MetadataField.BUFFER, buffer)
    }
}
