package dev.taskbundler.core.task

/** How weights are stored; [bits] a value. */
enum class WeightType(val written: String, val bits: Int) {
    FLOAT32("float32", 32),
    FLOAT16("float16", 16),
    INT8("int8", 8),
    INT4("int4", 4),
    ;

    val isFloat: Boolean get() = this == FLOAT32 || this == FLOAT16
}

/**
 * Where one attention matrix [width, width] lies, row after row; places in bytes from the start of the entry [MODEL].
 *
 * [scales] is null for floats. [block] 0: one float32 scale a row; else one float16 scale for every [block] values of a row.
 */
data class MappedTensor(
    val layer: Int,
    val projection: String,
    val type: WeightType,
    val width: Int,
    val data: Long,
    val scales: Long?,
    val block: Int,
) {
    val rowBytes: Int get() = width * type.bits / 8

    val dataBytes: Long get() = width.toLong() * rowBytes

    val scaleRowBytes: Int get() = if (scales == null) {
        0
    } else if (block == 0) {
        4
    } else {
        width / block * 2
    }

    val scalesBytes: Long get() = width.toLong() * scaleRowBytes
}
