package dev.taskbundler.core.adapter

import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.formats.f32
import dev.taskbundler.core.tflite.tensorName
import java.io.File

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
