package dev.taskbundler.app.figures

import android.content.Context
import android.os.Debug
import dev.taskbundler.core.figures.ProcessMemory
import dev.taskbundler.core.figures.mappedBytes
import dev.taskbundler.core.figures.statusBytes
import java.io.File
import java.io.IOException

private const val BYTES_PER_KIBIBYTE = 1024L

/** What this process takes now. Reads some megabytes of text that the system makes of its mappings: not for the screen's thread. */
fun measureMemory(context: Context): ProcessMemory {
    val counted = Debug.MemoryInfo()
    Debug.getMemoryInfo(counted)
    val status = linesOf("status")
    // The system may have another name for these folders, but for its end.
    val folders = listOf("/${context.packageName}/${context.filesDir.name}/models/", "/${context.packageName}/${context.cacheDir.name}/engines/")
    return ProcessMemory(
        pss = counted.totalPss * BYTES_PER_KIBIBYTE,
        nativeHeap = kibibytes(counted, "summary.native-heap"),
        graphics = kibibytes(counted, "summary.graphics"),
        resident = statusBytes(status, "VmRSS"),
        peak = statusBytes(status, "VmHWM"),
        mapped = mappedBytes(linesOf("smaps")) { path -> folders.any(path::contains) },
    )
}

private fun kibibytes(counted: Debug.MemoryInfo, statistic: String) = (counted.getMemoryStat(statistic)?.toLongOrNull() ?: 0) * BYTES_PER_KIBIBYTE

/** None where the system does not show them. */
private fun linesOf(name: String): Sequence<String> = try {
    File("/proc/self/$name").readLines().asSequence()
} catch (_: IOException) {
    emptySequence()
}
