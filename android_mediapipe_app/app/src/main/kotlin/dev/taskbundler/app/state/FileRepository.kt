package dev.taskbundler.app.state

import dev.taskbundler.core.catalogue.Catalogue
import dev.taskbundler.core.catalogue.DamagedFile
import dev.taskbundler.core.catalogue.ImportSource
import dev.taskbundler.core.catalogue.MergedCopy
import dev.taskbundler.core.catalogue.Sha256Sums
import dev.taskbundler.core.catalogue.Stored
import dev.taskbundler.core.catalogue.StoredAdapter
import dev.taskbundler.core.catalogue.StoredBundle
import dev.taskbundler.core.catalogue.StoredTrainer
import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.Progress
import dev.taskbundler.core.litertlm.tokenEncoder

/** What lies in the app's storage, as it was when it was read. */
data class Contents(
    val bundles: List<StoredBundle> = emptyList(),
    val adapters: List<StoredAdapter> = emptyList(),
    val merged: List<MergedCopy> = emptyList(),
    val damaged: List<DamagedFile> = emptyList(),
    val freeBytes: Long = 0,
    /** Why an adapter cannot be used with a bundle, by their ids; those that can are not in it. */
    val misfits: Map<Pair<String, String>, Finding> = emptyMap(),
    val trainers: List<StoredTrainer> = emptyList(),
    /** Why what a trainer teaches cannot be used with a bundle, by their ids; those that can are not in it. */
    val trainerMisfits: Map<Pair<String, String>, Finding> = emptyMap(),
) {
    val isEmpty get() = bundles.isEmpty() && adapters.isEmpty() && merged.isEmpty() && damaged.isEmpty() && trainers.isEmpty()

    fun bundle(id: String?) = bundles.find { it.id == id }

    fun adapter(id: String?) = adapters.find { it.id == id }

    fun fitting(bundle: StoredBundle?) = adapters.filter { bundle != null && (it.id to bundle.id) !in misfits }

    /** The adapters to be shown with [bundle]: those that fit; with a `.litertlm` all, since nothing else tells why one cannot be used with it. */
    fun offered(bundle: StoredBundle?) = if (bundle?.litertLm != null) adapters else fitting(bundle)

    /** Why the adapter of this id cannot be used with the bundle of that, or null. */
    fun misfit(adapterId: String?, bundleId: String?): Finding? = if (adapterId == null || bundleId == null) null else misfits[adapterId to bundleId]

    /** What was taught and is not kept yet; there is one at most. */
    val taught get() = adapters.find { !it.isKept }

    fun mergedCopy(bundle: StoredBundle, adapter: StoredAdapter) = merged.find { it.bundleId == bundle.id && it.adapterId == adapter.id }

    /** Everything that would go with [item], and how many bytes that frees. */
    fun bytesFreedBy(item: Stored) = item.bytes + merged.filter { it.bundleId == item.id || it.adapterId == item.id }.sumOf { it.bytes }
}

/** The files of the app; reads and writes the disk, so from a background thread. All throw FindingException. */
interface FileRepository {
    fun contents(): Contents

    /** With [sums], the copy must have the hash that is listed for its name, if there is one. */
    fun import(source: ImportSource, sums: Sha256Sums?, progress: Progress, cancel: CancelSignal): Stored

    fun merge(bundle: StoredBundle, adapter: StoredAdapter, progress: Progress, cancel: CancelSignal): MergedCopy

    fun delete(item: Stored)

    /** What makes tokens as the tokenizer of [bundle] does; null if it has none that this app can read. Takes a fraction of a second. */
    fun encoder(bundle: StoredBundle): ((String) -> IntArray?)?

    /** Put [vector], taught with [trainer], under [name] until it is kept or deleted; [scaling] is alpha / rank. */
    fun putTaught(trainer: StoredTrainer, name: String, vector: FloatArray, scaling: Double): StoredAdapter

    fun keep(adapter: StoredAdapter, name: String): StoredAdapter
}

/** The repository that is a [Catalogue]. */
class CatalogueRepository(private val catalogue: Catalogue) : FileRepository {
    private var isClean = false

    override fun contents(): Contents {
        if (!isClean) catalogue.clearLeftovers()
        isClean = true
        val bundles = catalogue.bundles()
        val adapters = catalogue.adapters()
        val misfits = HashMap<Pair<String, String>, Finding>()
        for (bundle in bundles) {
            for (adapter in adapters) catalogue.misfit(adapter, bundle)?.let { misfits[adapter.id to bundle.id] = it }
        }
        val trainers = catalogue.trainers()
        val trainerMisfits = HashMap<Pair<String, String>, Finding>()
        for (bundle in bundles) {
            for (trainer in trainers) catalogue.misfit(trainer, bundle)?.let { trainerMisfits[trainer.id to bundle.id] = it }
        }
        return Contents(bundles, adapters, catalogue.merged(), catalogue.damaged(), catalogue.freeBytes(), misfits, trainers, trainerMisfits)
    }

    override fun import(source: ImportSource, sums: Sha256Sums?, progress: Progress, cancel: CancelSignal) =
        catalogue.import(source, sums, progress, cancel)

    override fun merge(bundle: StoredBundle, adapter: StoredAdapter, progress: Progress, cancel: CancelSignal) =
        catalogue.merge(bundle, adapter, progress, cancel)

    override fun delete(item: Stored) = catalogue.delete(item)

    override fun encoder(bundle: StoredBundle): ((String) -> IntArray?)? = if (bundle.litertLm ==
        null
    ) {
        null
    } else {
        tokenEncoder(bundle.file)?.let { it::encode }
    }

    override fun putTaught(trainer: StoredTrainer, name: String, vector: FloatArray, scaling: Double) =
        catalogue.putTaught(trainer, name, vector, scaling)

    override fun keep(adapter: StoredAdapter, name: String) = catalogue.keep(adapter, name)
}
