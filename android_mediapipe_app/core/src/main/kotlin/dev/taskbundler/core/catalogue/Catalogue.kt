package dev.taskbundler.core.catalogue

import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.progress.CancelSignal
import dev.taskbundler.core.progress.Progress
import java.io.File

/**
 * The bundles, adapters and merged copies below [root], a folder that belongs to this class alone.
 *
 * A file is listed only when it is whole and was checked. One instance per folder; its functions may be called from any
 * thread, and long ones from a background thread. All throw FindingException with a sentence for the user.
 */
class Catalogue(private val root: File, private val freeSpace: (File) -> Long = File::getUsableSpace) {
    /** Remove what an import, merge or deletion that was cut off has left. To be called at start, before all else. */
    fun clearLeftovers(): Unit = TODO()

    fun bundles(): List<StoredBundle> = TODO()

    fun adapters(): List<StoredAdapter> = TODO()

    fun merged(): List<MergedCopy> = TODO()

    /** Bytes that the file system has left for this app. */
    fun freeBytes(): Long = TODO()

    /**
     * Copy what [source] offers, check it, and list it: a [StoredBundle] or a [StoredAdapter], told apart by content.
     *
     * A file that is there already is returned as it is. With [sums], the copy must have the hash listed for its name.
     * Throws CancellationException when [cancel] is asked for.
     */
    fun import(source: ImportSource, sums: Sha256Sums? = null, progress: Progress = Progress.NONE, cancel: CancelSignal = CancelSignal()): Stored =
        TODO()

    /** Why [adapter] cannot be used with [bundle], or null if it can. */
    fun misfit(adapter: StoredAdapter, bundle: StoredBundle): Finding? = TODO()

    /** A finished copy of [bundle] with [adapter] merged in, if there is one. */
    fun mergedCopy(bundle: StoredBundle, adapter: StoredAdapter): MergedCopy? = TODO()

    /** The same, made if there is none. Takes as much room as [bundle]. Throws CancellationException when [cancel] is asked for. */
    fun merge(bundle: StoredBundle, adapter: StoredAdapter, progress: Progress = Progress.NONE, cancel: CancelSignal = CancelSignal()): MergedCopy =
        TODO()

    /** Delete a file, and with a bundle or an adapter the merged copies made of it. */
    fun delete(item: Stored): Unit = TODO()
}
