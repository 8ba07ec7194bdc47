package dev.taskbundler.app.figures

import android.app.ActivityManager
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
    // The system may have another name for these folders, but for its end.
    val folders = listOf("/${context.packageName}/${context.filesDir.name}/models/", "/${context.packageName}/${context.cacheDir.name}/engines/")
    return ProcessMemory(
        pss = counted.totalPss * BYTES_PER_KIBIBYTE,
        nativeHeap = kibibytes(counted, "summary.native-heap"),
        graphics = kibibytes(counted, "summary.graphics"),
        resident = readOwn("status") { statusBytes(it, "VmRSS") },
        peak = readOwn("status") { statusBytes(it, "VmHWM") },
        mapped = readOwn("smaps") { lines -> mappedBytes(lines) { path -> folders.any(path::contains) } },
    )
}

private fun kibibytes(counted: Debug.MemoryInfo, statistic: String) = (counted.getMemoryStat(statistic)?.toLongOrNull() ?: 0) * BYTES_PER_KIBIBYTE

/** What [read] makes of the lines, one by one: all at once they would be in the memory that is measured. There are none where the system shows none. */
private fun readOwn(name: String, read: (Sequence<String>) -> Long): Long = try {
    File("/proc/self/$name").useLines(block = read)
} catch (_: IOException) {
    read(emptySequence())
}

/** What the system says of the memory of the whole phone. */
fun memoryOfPhone(context: Context): ActivityManager.MemoryInfo {
    val info = ActivityManager.MemoryInfo()
    (context.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager).getMemoryInfo(info)
    return info
}
