package dev.taskbundler.app.report

import java.io.File
import java.io.IOException

/**
 * What happened, line by line, for a report the user may share. Holds no text that the user or the model wrote.
 *
 * Kept in [file] over restarts, since what matters most is what came before a crash; of a file larger than [MOST_BYTES] the older half goes.
 */
class EventLog(
    private val file: File,
    private val later: (() -> Unit) -> Unit = { it() },
    private val millis: () -> Long = System::currentTimeMillis,
) {
    /** Written by [later]: whoever has something to tell need not wait for the disk. */
    fun add(line: String) {
        val now = millis()
        later { write(now, line) }
    }

    /** Written when this returns: the process may end in the next moment. */
    fun addNow(line: String) = write(millis(), line)

    @Synchronized
    private fun write(now: Long, line: String) {
        try {
            if (file.length() > MOST_BYTES) file.writeText(file.readText().takeLast(MOST_BYTES / 2).substringAfter('\n'))
            file.appendText("$now ${line.replace('\n', ' ').take(LONGEST_LINE)}\n")
        } catch (_: IOException) {
            // A full disk must not end the app over its log.
        }
    }

    @Synchronized
    fun text(): String = try {
        if (file.exists()) file.readText() else ""
    } catch (_: IOException) {
        ""
    }

    companion object {
        const val MOST_BYTES = 64 * 1024
        const val LONGEST_LINE = 1000
    }
}
