package dev.taskbundler.core.catalogue

import dev.taskbundler.core.adapter.AdapterHeader
import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.litertlm.LitertLmBundle
import dev.taskbundler.core.task.BundleManifest
import dev.taskbundler.core.task.LlmParameters
import dev.taskbundler.core.training.TrainerFacts
import java.io.File

/** A whole, checked file in the app's storage. */
sealed interface Stored {
    /** SHA-256 of the file; of a merged copy, of the two it was made of. */
    val id: String
    val name: String
    val file: File

    /** In bytes. */
    val size: Long

    /** Bytes that go with it: the file, and what engines keep of it. */
    val bytes: Long get() = size
}

/** What an engine opens. */
sealed interface Openable : Stored {
    val cache: Cache
    override val bytes: Long get() = size + cache.size
}

/** The folder that is a file's own, for what engines compute when they open it, and how many bytes are in there. */
data class Cache(val folder: File?, val size: Long) {
    companion object {
        val NONE = Cache(null, 0)
    }
}

data class StoredBundle(
    override val id: String,
    override val name: String,
    override val file: File,
    override val size: Long,
    val parameters: LlmParameters,
    /** Null for bundles of other makers, which run but take no adapters here, and for a `.litertlm`. */
    val manifest: BundleManifest?,
    /** Why nothing can be merged into it, or null. */
    val mergeProblem: Finding?,
    /** Of a `.litertlm`, which LiteRT-LM alone opens; null for a `.task`. */
    val litertLm: LitertLmBundle? = null,
    /** The adapter that changes nothing, to be given to every session without another; there is one if the model has inputs for adapters. */
    val zeroAdapter: File? = null,
    override val cache: Cache = Cache.NONE,
) : Openable {
    /** Tokens that prompt and answer may have together; null where the bundle does not say. */
    val context: Int? get() = if (litertLm == null) manifest?.context else litertLm.context
}

data class StoredAdapter(
    override val id: String,
    override val name: String,
    override val file: File,
    override val size: Long,
    val header: AdapterHeader,
    /** False for what was taught here and is to be tried before it is kept. */
    val isKept: Boolean = true,
) : Stored

/** A file that trains adapters for bundles of its model. */
data class StoredTrainer(
    override val id: String,
    override val name: String,
    override val file: File,
    override val size: Long,
    val facts: TrainerFacts,
) : Stored

/** A bundle with an adapter merged in, made here. Can be made again, so an app may delete it to get room. */
data class MergedCopy(
    override val id: String,
    override val name: String,
    override val file: File,
    override val size: Long,
    val bundleId: String,
    val adapterId: String,
    override val cache: Cache = Cache.NONE,
) : Openable

/** A file that was whole when it was put here, and is not any more: [problem] says why. Of no use but to be deleted. */
data class DamagedFile(override val id: String, override val name: String, override val file: File, override val size: Long, val problem: Finding) :
    Stored
