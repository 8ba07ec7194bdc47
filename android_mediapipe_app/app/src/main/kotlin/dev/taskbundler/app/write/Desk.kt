package dev.taskbundler.app.write

import dev.taskbundler.core.writing.Manuscript
import dev.taskbundler.core.writing.Texts
import dev.taskbundler.core.writing.WrittenText
import java.io.File
import java.io.FileOutputStream
import java.io.IOException

/** What outlives the app's process: the texts, and what was chosen to write with. */
data class Desk(val texts: Texts = Texts(), val bundleId: String? = null, val adapterId: String? = null)

/**
 * Keeps one desk in [folder], each text in a file of its own, whole or not at all.
 *
 * Texts are read from their files; the list of them only says what was chosen, and in which order the texts are. So no text is lost
 * where the process ends between the two. [draft] is the one file of an earlier version, whose text becomes the first.
 */
class DeskStore(private val folder: File, private val draft: File) {
    /** What the files of this object's texts hold, by their ids: only these are replaced or deleted. */
    private val written = HashMap<Int, String>()
    private var writtenList: String? = null

    /** A desk with one blank text where there is none; files that cannot be read are left alone. */
    @Synchronized
    fun read(): Desk {
        val list = textOf(File(folder, LIST))?.split("\n", limit = PARTS).orEmpty()
        val order = list.getOrNull(2).orEmpty().split(" ").mapNotNull { it.toIntOrNull() }
        val ids = folder.list().orEmpty().mapNotNull { it.toIntOrNull() }
        written.clear()
        for (id in ids) textOf(fileOf(id))?.let { written[id] = it }
        val sorted = written.keys.sortedWith(compareBy({ order.indexOf(it).let { place -> if (place < 0) order.size else place } }, { -it }))
        if (sorted.isEmpty()) return earlier()
        return Desk(
            Texts(sorted.map { WrittenText(it, decode(written.getValue(it))) }),
            list.getOrNull(0)?.ifEmpty { null },
            list.getOrNull(1)?.ifEmpty { null },
        )
    }

    /** Throws IOException; what could not be written stays as it was before. */
    @Synchronized
    fun write(desk: Desk) {
        if (!folder.isDirectory && !folder.mkdirs()) throw IOException("the folder $folder cannot be made")
        val texts = desk.texts.all
        for (text in texts) {
            val content = encode(text.manuscript)
            if (written[text.id] == content) continue
            replace(fileOf(text.id), content)
            written[text.id] = content
        }
        val list = listOf(desk.bundleId.orEmpty(), desk.adapterId.orEmpty(), texts.joinToString(" ") { it.id.toString() }).joinToString("\n")
        if (list != writtenList) replace(File(folder, LIST), list)
        writtenList = list
        for (gone in written.keys - texts.map { it.id }.toSet()) {
            fileOf(gone).delete()
            written -= gone
        }
        draft.delete()
    }

    private fun fileOf(id: Int) = File(folder, id.toString())

    private fun textOf(file: File): String? = try {
        if (file.exists()) file.readText() else null
    } catch (_: IOException) {
        null
    }

    private fun replace(file: File, content: String) {
        val partial = File(file.path + ".partial")
        try {
            FileOutputStream(partial).use {
                it.write(content.toByteArray())
                it.fd.sync()
            }
            if (!partial.renameTo(file)) throw IOException("the text cannot be renamed to $file")
        } finally {
            partial.delete()
        }
    }

    /** Where the suggestion stands and how long it is, then what the screen shows. */
    private fun encode(manuscript: Manuscript) = "${manuscript.place} ${manuscript.suggestion.length}\n${manuscript.shown}"

    /** What has no such first line is all text. */
    private fun decode(content: String): Manuscript {
        val (place, length) = FIRST_LINE.find(content)?.destructured?.let { (place, length) -> place.toInt() to length.toInt() }
            ?: return Manuscript(content)
        val shown = content.substringAfter("\n")
        val end = place.toLong() + length
        if (end > shown.length) return Manuscript(shown)
        return Manuscript(shown.removeRange(place, end.toInt()), shown.substring(place, end.toInt()), place = place)
    }

    /** The draft of an earlier version: bundle, adapter, the text's length, and then the text with its suggestion. */
    private fun earlier(): Desk {
        val parts = textOf(draft)?.split("\n", limit = DRAFT_PARTS) ?: return Desk()
        if (parts.size < DRAFT_PARTS) return Desk()
        val shown = parts[3]
        val length = (parts[2].toIntOrNull() ?: shown.length).coerceIn(0, shown.length)
        return Desk(Texts().changed(Manuscript(shown.take(length), shown.drop(length))), parts[0].ifEmpty { null }, parts[1].ifEmpty { null })
    }

    private companion object {
        const val LIST = "list"
        const val PARTS = 3
        const val DRAFT_PARTS = 4
        val FIRST_LINE = Regex("^(\\d{1,9}) (\\d{1,9})\n")
    }
}
