package dev.taskbundler.core.task

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import java.io.File

const val MODEL = "TF_LITE_PREFILL_DECODE"
const val TOKENIZER = "TOKENIZER_MODEL"
const val METADATA = "METADATA"

/** This project's own entry, which engines pass over. */
const val MANIFEST = "MANIFEST"

/** Engines use an entry where it lies, and want it on a multiple of this many bytes. */
const val ALIGNMENT = 4

/**
 * One entry of a `.task`: its data's [offset] and [size] in the file in bytes, and where the ZIP speaks of it.
 *
 * [headerOffset] is its local header, [recordOffset] its record of the directory.
 */
data class TaskEntry(
    val name: String,
    val offset: Long,
    val size: Long,
    val crc: Long,
    val compressed: Boolean,
    val headerOffset: Long,
    val recordOffset: Long,
) {
    val aligned: Boolean get() = offset % ALIGNMENT == 0L
}

/** The directory of a `.task` file; the data stays on disk. */
data class TaskFile(val file: File, val entries: List<TaskEntry>) {
    fun find(name: String): TaskEntry? = entries.find { it.name == name }

    /** The entry called [name]. Throws FindingException unless an engine could use it: there, not compressed, aligned. */
    fun usable(name: String): TaskEntry {
        val entry = find(name) ?: refuse(
            FindingCode.ENTRY_MISSING,
            "${file.name} has no entry $name, only ${entries.joinToString {
                it.name
            }.ifEmpty { "none at all" }}; expected a .task bundle of an LLM; " +
                "check that this is the right file",
            "entry" to name,
        )
        if (entry.compressed) {
            refuse(
                FindingCode.ENTRY_COMPRESSED,
                "$name in ${file.name} is compressed; engines use it where it lies and expect it stored; build the bundle again",
                "entry" to name,
            )
        }
        // MediaPipe's writer aligns the others too, but only the model is used in place.
        if (!entry.aligned && name == MODEL) {
            refuse(
                FindingCode.ENTRY_MISALIGNED,
                "$name in ${file.name} begins at byte ${entry.offset}, which is no multiple of $ALIGNMENT; build the bundle again",
                "entry" to name,
                "offset" to entry.offset,
            )
        }
        return entry
    }
}
