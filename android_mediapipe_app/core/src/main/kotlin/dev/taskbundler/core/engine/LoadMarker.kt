package dev.taskbundler.core.engine

import java.io.File
import java.io.FileOutputStream
import java.io.IOException

/**
 * Remembers what was being tried when the process was killed: a native library that crashes leaves no exception.
 *
 * [begin] writes [file] before a risky step and [end] removes it. One that is still there at the next start tells what killed
 * the app, so that it is not tried again by itself. The file is read once, by [unfinished].
 */
class LoadMarker(private val file: File) {
    /** A step that never ended; [times] counts how often in a row. */
    data class Unfinished(
        val modelPath: String,
        val backend: Backend?,
        val kind: EngineKind?,
        val loraRanks: List<Int>,
        val step: String,
        val times: Int,
    )

    // Asked by the screen, changed by the engine's thread.
    @Volatile
    private var before: Unfinished? = read()

    /** What the last run of the app did not survive, or null. */
    fun unfinished(): Unfinished? = before

    /** The user knows, and wants it tried again or not. */
    fun forget() {
        before = null
        file.delete()
    }

    /** About to do [step]. A marker that cannot be written is no reason not to go on. */
    fun begin(options: EngineOptions, step: String) {
        val times = before?.takeIf { it.modelPath == options.modelPath }?.let { it.times + 1 } ?: 1
        val lines = listOf(
            options.modelPath.replace('\n', ' '),
            options.backend.name,
            options.kind.name,
            options.loraRanks.joinToString(","),
            step,
            times.toString(),
        )
        try {
            FileOutputStream(file).use { output ->
                output.write(lines.joinToString("\n").toByteArray())
                // The process may die in the next moment.
                output.fd.sync()
            }
        } catch (_: IOException) {
            file.delete()
        }
    }

    /** It has not killed the app. */
    fun end() {
        before = null
        file.delete()
    }

    private fun read(): Unfinished? {
        val lines = try {
            if (file.exists()) file.readLines() else return null
        } catch (_: IOException) {
            return null
        }
        if (lines.size < LINES) return Unfinished("", null, null, emptyList(), "", 1)
        return Unfinished(
            lines[0],
            Backend.entries.find { it.name == lines[1] },
            EngineKind.entries.find { it.name == lines[2] },
            lines[3].split(",").mapNotNull { it.toIntOrNull() },
            lines[4],
            lines[5].toIntOrNull() ?: 1,
        )
    }

    private companion object {
        const val LINES = 6
    }
}
