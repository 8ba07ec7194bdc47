package dev.taskbundler.core.catalogue

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.litertlm.MAGIC
import dev.taskbundler.core.training.isTrainer
import java.io.File

/** What this app keeps; [suffix] is what engines want the file's name to end in. */
internal enum class FileKind(val suffix: String) {
    BUNDLE(".task"),
    LITERTLM(".litertlm"),
    ADAPTER(".tflite"),
    TRAINER(".tflite"),
}

private const val BEGINNING = 8
private val ZIP = listOf("PK\u0003\u0004", "PK\u0005\u0006")

/** Tell by its first bytes what [file] is. Throws FindingException if it is nothing that this app keeps. [name] is what messages call it. */
internal fun kindOf(file: File, name: String): FileKind {
    val beginning = FileBytes(file).use { String(it.bytes(0, minOf(it.size, BEGINNING.toLong()).toInt()), Charsets.ISO_8859_1) }
    return when {
        beginning.isEmpty() -> refuse(FindingCode.FILE_TRUNCATED, "$name is empty; copy or download it again", "size" to 0L)

        // MediaPipe's writer puts up to four zeros before the first header.
        ZIP.any { beginning.startsWith(it) || beginning.trimStart('\u0000').startsWith(it) } -> FileKind.BUNDLE

        beginning.startsWith("TFL3", 4) -> if (isTrainer(file)) FileKind.TRAINER else FileKind.ADAPTER

        beginning == MAGIC -> FileKind.LITERTLM

        else -> refuse(
            FindingCode.NOT_A_KNOWN_FILE,
            "$name is no .task, .litertlm, adapter or trainer file; choose what `task-bundler build` or `task-bundler lora export` wrote. " +
                "A web page that was saved under the file's name is a common cause",
        )
    }
}
