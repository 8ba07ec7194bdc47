package dev.taskbundler.core.tflite

import dev.taskbundler.core.formats.FlatTable

/** Each metadata's name in [model], and the buffer it is in. Throws FlatbufferException if there are more than [limit]. */
internal fun metadata(model: FlatTable, limit: Int): Map<String, Long> {
    val listed = model.tables(ModelField.METADATA).atMost(limit)
    return (0 until listed.size).map { listed.table(it) }.associate { it.text(MetadataField.NAME).orEmpty() to it.u32(MetadataField.BUFFER) }
}
