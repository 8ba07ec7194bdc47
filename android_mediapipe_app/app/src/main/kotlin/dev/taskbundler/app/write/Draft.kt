package dev.taskbundler.app.write

import java.io.File
import java.io.FileOutputStream
import java.io.IOException

/** What outlives the app's process: the text, the suggestion after it, and what was chosen. */
data class Draft(val text: String = "", val suggestion: String = "", val bundleId: String? = null, val adapterId: String? = null)

/** Keeps one draft in [file], whole or not at all. */
class DraftStore(private val file: File) {
    fun read(): Draft = try {
        if (file.exists()) decode(file.readText()) else Draft()
    } catch (_: IOException) {
        Draft()
    }

    /** Throws IOException; the draft before stays. */
    @Synchronized
    fun write(draft: Draft) {
        val partial = File(file.path + ".partial")
        try {
            FileOutputStream(partial).use {
                it.write(encode(draft).toByteArray())
                it.fd.sync()
            }
            if (!partial.renameTo(file)) throw IOException("the draft cannot be renamed to $file")
        } finally {
            partial.delete()
        }
    }

    private fun encode(draft: Draft) =
        listOf(draft.bundleId.orEmpty(), draft.adapterId.orEmpty(), draft.text.length.toString(), draft.text + draft.suggestion).joinToString("\n")

    private fun decode(content: String): Draft {
        val parts = content.split("\n", limit = PARTS)
        if (parts.size < PARTS) return Draft()
        val written = parts[3]
        val length = (parts[2].toIntOrNull() ?: written.length).coerceIn(0, written.length)
        return Draft(written.take(length), written.drop(length), parts[0].ifEmpty { null }, parts[1].ifEmpty { null })
    }

    private companion object {
        const val PARTS = 4
    }
}
