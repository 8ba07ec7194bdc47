package dev.taskbundler.core.catalogue

import dev.taskbundler.core.adapter.baseProblem
import dev.taskbundler.core.adapter.litertLmProblem
import dev.taskbundler.core.adapter.rankProblem
import dev.taskbundler.core.adapter.readAdapter
import dev.taskbundler.core.adapter.readAdapterHeader
import dev.taskbundler.core.adapter.taughtHeader
import dev.taskbundler.core.adapter.trainerProblem
import dev.taskbundler.core.adapter.writeRenamed
import dev.taskbundler.core.adapter.writeTaught
import dev.taskbundler.core.adapter.writeZeroAdapter
import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.Progress
import dev.taskbundler.core.formats.sha256Of
import dev.taskbundler.core.litertlm.LitertLmBundle
import dev.taskbundler.core.litertlm.checkTokenizer
import dev.taskbundler.core.litertlm.openLitertLm
import dev.taskbundler.core.merge.mergeIntoBundle
import dev.taskbundler.core.merge.mergeProblem
import dev.taskbundler.core.task.checkEntry
import dev.taskbundler.core.task.checkModel
import dev.taskbundler.core.task.openBundle
import dev.taskbundler.core.training.TrainerFacts
import dev.taskbundler.core.training.readTrainer
import java.io.File
import java.io.IOException
import java.util.concurrent.ConcurrentHashMap

private const val BUNDLES = "bundles"
private const val ADAPTERS = "adapters"
private const val MERGED = "merged"
private const val TRAINERS = "trainers"

/** An adapter that was taught here, until it is kept or deleted. */
private const val TAUGHT = "taught"

/** Adapters of zeros, by the id of the bundle that each is for. */
private const val ZEROS = "zeros"

/**
 * The bundles, adapters and merged copies below [root], and what engines compute of them below [caches]: folders that belong to this
 * class alone. From [caches] the system may delete what it likes.
 *
 * A file is listed only when it is whole and was checked. One instance per folder; its functions may be called from any
 * thread, and long ones from a background thread. All throw FindingException with a sentence for the user.
 */
class Catalogue(root: File, private val caches: File = File(root, "caches"), freeSpace: (File) -> Long = File::getUsableSpace) {
    private val storage = Storage(root, freeSpace)

    /** Of trainers, by id: to read their graphs takes longer than anything else in a list. */
    private val facts = ConcurrentHashMap<String, TrainerFacts>()

    /** Remove what an import, merge or deletion that was cut off has left. To be called at start, before all else. */
    fun clearLeftovers() {
        storage.clearLeftovers()
        for ((id, _) in storage.list(ZEROS)) if (storage.find(BUNDLES, id) == null) storage.delete(ZEROS, id)
        val kept = (storage.list(BUNDLES) + storage.list(MERGED)).map { it.first }
        caches.listFiles().orEmpty().filter { it.name !in kept }.forEach { it.deleteRecursively() }
    }

    fun bundles(): List<StoredBundle> = storage.list(BUNDLES).mapNotNull { (id, file) -> bundle(id, file) as? StoredBundle }

    /** Those that are not kept come last. */
    fun adapters(): List<StoredAdapter> = (storage.list(ADAPTERS) + storage.list(TAUGHT)).mapNotNull { (id, file) ->
        adapter(id, file) as? StoredAdapter
    }

    fun trainers(): List<StoredTrainer> = storage.list(TRAINERS).mapNotNull { (id, file) -> trainer(id, file) as? StoredTrainer }

    fun merged(): List<MergedCopy> = storage.list(MERGED).map { (id, file) -> mergedCopy(id, file) }

    /** What can only be deleted: files that something damaged after they were put here. */
    fun damaged(): List<DamagedFile> = listOf(BUNDLES to ::bundle, ADAPTERS to ::adapter, TAUGHT to ::adapter, TRAINERS to ::trainer)
        .flatMap { (kind, read) -> storage.list(kind).map { (id, file) -> read(id, file) } }
        .filterIsInstance<DamagedFile>()

    /** Bytes that the file system has left for this app. */
    fun freeBytes(): Long = storage.freeBytes()

    /**
     * Copy what [source] offers, check it, and list it: a [StoredBundle], a [StoredAdapter] or a [StoredTrainer], told apart by content.
     *
     * A file that is there already is returned as it is. With [sums], the copy must have the hash listed for its name.
     * Throws CancellationException when [cancel] is asked for.
     */
    fun import(source: ImportSource, sums: Sha256Sums? = null, progress: Progress = Progress.NONE, cancel: CancelSignal = CancelSignal()): Stored {
        storage.needRoom(source.size ?: 0)
        val (file, filled) = storage.put { folder ->
            val copy = File(folder, "copy")
            val hash = copyIn(source, copy, storage, progress, cancel)
            checkHash(source.name, hash, sums)
            val kind = kindOf(copy, source.name)
            val named = File(folder, fileName(source.name, kind.suffix))
            rename(copy, named)
            when (kind) {
                FileKind.BUNDLE -> checkBundle(named, cancel)

                // Its adapter of zeros first: then no bundle is listed that cannot be used.
                FileKind.LITERTLM -> zeroAdapter(hash, checkLitertLm(named, cancel))

                FileKind.ADAPTER -> readAdapter(named)

                FileKind.TRAINER -> readTrainer(named)
            }
            rename(named, File(folder, storedName(named.name, hash)))
            Filled(folderOf(kind), hash, kind to hash)
        }
        val (kind, hash) = filled
        return when (kind) {
            FileKind.ADAPTER -> adapter(hash, file)
            FileKind.TRAINER -> trainer(hash, file)
            else -> bundle(hash, file)
        }
    }

    private fun folderOf(kind: FileKind) = when (kind) {
        FileKind.ADAPTER -> ADAPTERS
        FileKind.TRAINER -> TRAINERS
        else -> BUNDLES
    }

    /**
     * Put here what [vector], see [FlatAdapter][dev.taskbundler.core.training.FlatAdapter], was taught with [trainer], to be tried before it
     * is kept; what was taught before and not kept goes. [scaling] is alpha / rank.
     */
    fun putTaught(trainer: StoredTrainer, name: String, vector: FloatArray, scaling: Double): StoredAdapter {
        val before = adapters().filter { !it.isKept }
        val header = taughtHeader(trainer.facts, nameOf(name), scaling)
        return write(TAUGHT, name) {
            writeTaught(it, header, vector, scaling)
        }.also { taught -> before.filter { it.id != taught.id }.forEach(::delete) }
    }

    /** Keep an [adapter] that was taught, under [name], as if it had been imported. */
    fun keep(adapter: StoredAdapter, name: String): StoredAdapter {
        if (!adapter.file.exists()) gone(adapter)
        storage.needRoom(adapter.size)
        return write(ADAPTERS, name) { writeRenamed(it, readAdapter(adapter.file), nameOf(name)) }.also { delete(adapter) }
    }

    private fun nameOf(offered: String) = fileName(offered, FileKind.ADAPTER.suffix).removeSuffix(FileKind.ADAPTER.suffix)

    /** Let [write] make an adapter file, and list it. */
    private fun write(kind: String, name: String, write: (File) -> Unit): StoredAdapter {
        val (file, hash) = storage.put { folder ->
            val written = File(folder, fileName(name, FileKind.ADAPTER.suffix))
            val hash = storage.writing(0) {
                write(written)
                sha256Of(written)
            }
            rename(written, File(folder, storedName(written.name, hash)))
            Filled(kind, hash, hash)
        }
        return adapter(hash, file) as? StoredAdapter ?: throw FindingException(goneFinding(name, null))
    }

    private fun rename(from: File, to: File) = storage.writing(0) { if (!from.renameTo(to)) throw IOException("cannot rename $from to $to") }

    /** Why [adapter] cannot be used with [bundle], or null if it can: merged into a `.task`, beside the weights of a `.litertlm`. */
    fun misfit(adapter: StoredAdapter, bundle: StoredBundle): Finding? =
        if (bundle.litertLm != null) nativeMisfit(adapter, bundle) else mergeMisfit(adapter, bundle)

    /** Why what [trainer] teaches cannot be used with [bundle], or null if it can. */
    fun misfit(trainer: StoredTrainer, bundle: StoredBundle): Finding? {
        val taught = StoredAdapter(trainer.id, trainer.name, trainer.file, trainer.size, taughtHeader(trainer.facts, trainer.name, 1.0))
        return misfit(taught, bundle)?.let { trainerProblem(it, trainer.name, trainer.facts.rank, bundle.name) }
    }

    private fun mergeMisfit(adapter: StoredAdapter, bundle: StoredBundle): Finding? =
        bundle.mergeProblem ?: bundle.manifest?.lora?.let { baseProblem(adapter.header, it, adapter.name, bundle.name) }

    /** Why an engine with LoRA support cannot be given [adapter] beside the weights of [bundle], or null if it can. */
    fun nativeMisfit(adapter: StoredAdapter, bundle: StoredBundle): Finding? {
        bundle.litertLm?.let { return litertLmProblem(adapter.header, it, adapter.name, bundle.name) }
        val facts = bundle.manifest?.lora ?: return bundle.mergeProblem
        return baseProblem(adapter.header, facts, adapter.name, bundle.name) ?: rankProblem(adapter.header, facts, adapter.name, bundle.name)
    }

    /** A finished copy of [bundle] with [adapter] merged in, if there is one. */
    fun mergedCopy(bundle: StoredBundle, adapter: StoredAdapter): MergedCopy? {
        val id = mergedId(bundle.id, adapter.id)
        return storage.find(MERGED, id)?.let { mergedCopy(id, it) }
    }

    /** The same, made if there is none. Takes as much room as [bundle]. Throws CancellationException when [cancel] is asked for. */
    fun merge(bundle: StoredBundle, adapter: StoredAdapter, progress: Progress = Progress.NONE, cancel: CancelSignal = CancelSignal()): MergedCopy {
        mergedCopy(bundle, adapter)?.let { return it }
        mergeMisfit(adapter, bundle)?.let { throw FindingException(it) }
        for (item in listOf(bundle, adapter)) if (!item.file.exists()) gone(item)
        storage.needRoom(bundle.size)
        val id = mergedId(bundle.id, adapter.id)
        val (file, _) = storage.put { folder ->
            val output =
                File(
                    folder,
                    storedName("${bundle.name.removeSuffix(FileKind.BUNDLE.suffix)}+${adapter.name.removeSuffix(FileKind.ADAPTER.suffix)}.task", id),
                )
            storage.writing(bundle.size) {
                mergeIntoBundle(openBundle(bundle.file), readAdapter(adapter.file), adapter.id, output, progress, cancel)
            }
            // Deleted meanwhile: then nobody wants the copy any more.
            for (item in listOf(bundle, adapter)) if (!item.file.exists()) gone(item)
            Filled(MERGED, id, Unit)
        }
        return mergedCopy(id, file)
    }

    /** Delete a file, and with a bundle or an adapter the merged copies made of it. */
    fun delete(item: Stored) {
        if (item !is MergedCopy) {
            for (copy in merged()) if (item.id == copy.bundleId || item.id == copy.adapterId) delete(copy)
        }
        storage.delete(kindFolder(item), item.id)
        (item as? Openable)?.cache?.folder?.deleteRecursively()
        if (kindFolder(item) == BUNDLES) storage.delete(ZEROS, item.id)
    }

    private fun kindFolder(item: Stored): String = item.file.parentFile!!.parentFile!!.name

    private fun bundle(id: String, file: File): Stored = readable(id, file) { name ->
        if (file.name.endsWith(FileKind.LITERTLM.suffix)) {
            val bundle = openLitertLm(file, name)
            StoredBundle(id, name, file, file.length(), bundle.tokens, null, notMerged(name), bundle, zeroAdapter(id, bundle), cache(id))
        } else {
            val bundle = openBundle(file, name)
            StoredBundle(id, name, file, file.length(), bundle.parameters, bundle.manifest, mergeProblem(bundle, name), cache = cache(id))
        }
    }

    private fun cache(id: String): Cache {
        val folder = File(caches, id)
        return Cache(folder, folder.walk().filter { it.isFile }.sumOf { it.length() })
    }

    /** The adapter of zeros for the bundle of this id, made if it is not there; null if its model takes no adapters. */
    private fun zeroAdapter(id: String, bundle: LitertLmBundle): File? {
        val lora = bundle.lora ?: return null
        storage.find(ZEROS, id)?.let { return it }
        storage.needRoom(lora.adapterBytes)
        val (file, _) = storage.put { folder ->
            val zeros = File(folder, "zero${FileKind.ADAPTER.suffix}")
            storage.writing(0) { writeZeroAdapter(zeros, lora.layers, lora.width, lora.rank, bundle.baseFingerprint) }
            Filled(ZEROS, id, Unit)
        }
        return file
    }

    private fun adapter(id: String, file: File): Stored = readable(id, file) { name ->
        StoredAdapter(id, name, file, file.length(), readAdapterHeader(file), file.parentFile?.parentFile?.name != TAUGHT)
    }

    private fun trainer(id: String, file: File): Stored = readable(id, file) { name ->
        StoredTrainer(id, name, file, file.length(), facts.getOrPut(id) { readTrainer(file, name) })
    }

    private fun readable(id: String, file: File, read: (String) -> Stored): Stored {
        val name = offeredName(file.name, id)
        return try {
            read(name)
        } catch (error: FindingException) {
            DamagedFile(id, name, file, file.length(), error.finding)
        } catch (error: IOException) {
            DamagedFile(id, name, file, file.length(), goneFinding(name, error))
        }
    }

    private fun mergedCopy(id: String, file: File): MergedCopy {
        val (bundle, adapter) = id.split('-', limit = 2)
        return MergedCopy(id, offeredName(file.name, id), file, file.length(), bundle, adapter, cache(id))
    }

    private fun mergedId(bundle: String, adapter: String) = "$bundle-$adapter"

    private fun notMerged(name: String) = Finding(
        FindingCode.APP_LITERTLM_NOT_MERGED,
        mapOf("bundle" to name),
        "$name is a .litertlm; adapters are merged into a .task, and handed to LiteRT-LM beside a .litertlm; choose the .task beside it",
    )

    private fun gone(item: Stored): Nothing = goneFinding(item.name, null).let { throw FindingException(it) }

    private fun goneFinding(name: String, error: IOException?) = Finding(
        FindingCode.APP_ITEM_GONE,
        mapOf("name" to name),
        "$name is not there any more${error?.let { " (${it.message})" }.orEmpty()}; import it again",
    )
}

private fun checkLitertLm(file: File, cancel: CancelSignal): LitertLmBundle {
    val bundle = openLitertLm(file)
    checkTokenizer(file, cancel)
    return bundle
}

private fun checkBundle(file: File, cancel: CancelSignal) {
    val bundle = openBundle(file)
    checkModel(bundle.task)
    for (entry in bundle.task.entries) {
        if (entry.compressed) refuse(FindingCode.ENTRY_COMPRESSED, "${entry.name} in ${file.name} is compressed; build the bundle again")
        bundle.task.checkEntry(entry.name, cancel) {}
    }
}
