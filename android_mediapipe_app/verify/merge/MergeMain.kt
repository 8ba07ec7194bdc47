package dev.taskbundler.verify

import dev.taskbundler.core.adapter.readAdapter
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.Progress
import dev.taskbundler.core.formats.sha256Of
import dev.taskbundler.core.merge.mergeIntoBundle
import dev.taskbundler.core.task.openBundle
import java.io.File
import java.lang.management.ManagementFactory
import kotlin.system.exitProcess

/**
 * `MergeMain BASE.task ADAPTER OUTPUT.task`: the app's merge on this machine.
 *
 * Prints one line, `seconds=… heap=…`: of the merge, and the largest heap in bytes after a collection. A finding is printed as `code: sentence`, exit code 1.
 */
fun main(arguments: Array<String>) {
    val (base, adapter, output) = arguments.map { File(it) }
    val start = System.nanoTime()
    try {
        mergeIntoBundle(openBundle(base), readAdapter(adapter), sha256Of(adapter), output, Progress.NONE, CancelSignal())
    } catch (error: FindingException) {
        System.err.println("${error.finding.code.id}: ${error.message}")
        exitProcess(1)
    }
    val seconds = (System.nanoTime() - start) / 1e9
    val heap = ManagementFactory.getMemoryPoolMXBeans().filter { it.type.name == "HEAP" }.sumOf { it.peakUsage.used }
    println("seconds=%.3f heap=%d".format(seconds, heap))
}
