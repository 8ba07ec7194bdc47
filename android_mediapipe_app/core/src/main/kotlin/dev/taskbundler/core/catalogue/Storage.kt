package dev.taskbundler.core.catalogue

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.findings.refuse
import java.io.File
import java.io.IOException
import java.util.UUID

/** Bytes to leave free, so that the phone stays usable. */
private const val KEPT_FREE = 32L shl 20

/**
 * Folders of which each holds one whole file: `root/KIND/ID/NAME`.
 *
 * A folder is filled as `root/temporary/…` and appears by one rename, the way back is the same: what lies in `root/KIND` is whole.
 */
internal class Storage(private val root: File, private val freeSpace: (File) -> Long) {
    private val temporary = File(root, "temporary")

    fun clearLeftovers() {
        temporary.listFiles()?.forEach { it.deleteRecursively() }
    }

    fun freeBytes(): Long = freeSpace(existing(root))

    /** Throws FindingException unless [bytes] more fit. */
    fun needRoom(bytes: Long) {
        val free = freeBytes()
        if (bytes + KEPT_FREE > free) full(bytes, free, null)
    }

    /** The id and the file of every folder of [kind], by file name. */
    fun list(kind: String): List<Pair<String, File>> = File(root, kind)
        .listFiles()
        .orEmpty()
        .mapNotNull { folder -> folder.listFiles()?.singleOrNull()?.let { folder.name to it } }
        .sortedBy { it.second.name }

    fun find(kind: String, id: String): File? = File(File(root, kind), id).listFiles()?.singleOrNull()

    /**
     * Let [fill] make a file in a folder of its own, then show it under the kind and id it returns.
     *
     * One that is there already stays, and is returned. [fill] returning or throwing, nothing stays in the temporary folder.
     */
    fun <T> put(fill: (File) -> Filled<T>): Pair<File, T> {
        val folder = File(existing(temporary), UUID.randomUUID().toString())
        try {
            if (!folder.mkdir()) failed("cannot make the folder $folder", null)
            val filled = fill(folder)
            return show(folder, filled.kind, filled.id) to filled.content
        } finally {
            folder.deleteRecursively()
        }
    }

    fun delete(kind: String, id: String) {
        val folder = File(File(root, kind), id)
        if (!folder.exists()) return
        val leaving = File(existing(temporary), UUID.randomUUID().toString())
        if (!folder.renameTo(leaving)) failed("cannot delete $folder", null)
        // If this is cut off, the rest goes at the next start.
        leaving.deleteRecursively()
    }

    /** Run [write]; what it throws for want of room or rights becomes a finding. Findings pass. */
    fun <T> writing(bytes: Long, write: () -> T): T = try {
        write()
    } catch (error: FindingException) {
        throw error
    } catch (error: IOException) {
        val free = freeBytes()
        if (free < KEPT_FREE) full(bytes, free, error)
        failed(error.message ?: error.javaClass.simpleName, error)
    }

    private fun show(folder: File, kind: String, id: String): File {
        val place = File(existing(File(root, kind)), id)
        if (!folder.renameTo(place) && find(kind, id) == null) failed("cannot rename $folder to $place", null)
        return find(kind, id) ?: failed("$place is not there", null)
    }

    private fun existing(folder: File): File {
        // Looked at again: another thread may have been first.
        if (folder.isDirectory || folder.mkdirs() || folder.isDirectory) return folder
        failed("cannot make the folder $folder", null)
    }

    private fun full(bytes: Long, free: Long, cause: IOException?): Nothing = refuse(
        FindingCode.APP_STORAGE_FULL,
        "there is room for ${megabytes(
            maxOf(0, free - KEPT_FREE),
        )} MB, ${megabytes(bytes + 999_999)} are needed; delete something, such as a merged copy",
        "needed" to bytes,
        "free" to free,
        cause = cause,
    )

    private fun megabytes(bytes: Long) = bytes / 1_000_000

    private fun failed(found: String, cause: IOException?): Nothing = refuse(
        FindingCode.APP_STORAGE_FAILED,
        "the app's storage cannot be used: $found; free some space or start the phone again",
        "found" to found,
        cause = cause,
    )
}

/** Where a filled folder belongs, and what the one who filled it knows of the file. */
internal class Filled<T>(val kind: String, val id: String, val content: T)
