package dev.taskbundler.core.task

import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.findings.FindingException
import java.io.File

/** Bytes; real metadata is under a kilobyte. */
private const val METADATA_LIMIT = 1 shl 20

/** Bytes; that of GPT-2 124M takes some ten thousand. */
private const val MANIFEST_LIMIT = 1 shl 22

/**
 * A `.task` bundle, its small parts in memory. [manifest] is null in bundles of other makers.
 *
 * [manifestProblem]: what is wrong with a manifest that cannot be used. Engines do not read it, so the bundle runs; it takes no
 * adapters here.
 */
class Bundle(val task: TaskFile, val parameters: LlmParameters, val manifest: BundleManifest?, val manifestProblem: Finding?) {
    val model: TaskEntry get() = task.usable(MODEL)
}

/** Open a bundle: its directory, METADATA and MANIFEST. Throws FindingException if an engine could not use it, as far as that shows there. */
fun openBundle(file: File, name: String = file.name): Bundle {
    val task = readTask(file, name)
    val model = task.usable(MODEL)
    task.usable(TOKENIZER)
    val parameters = decodeLlmParameters(task.read(METADATA, METADATA_LIMIT), name)
    if (task.find(MANIFEST) == null) return Bundle(task, parameters, null, null)
    return try {
        Bundle(task, parameters, decodeManifest(task.read(MANIFEST, MANIFEST_LIMIT), model.size, name), null)
    } catch (error: FindingException) {
        Bundle(task, parameters, null, error.finding)
    }
}
