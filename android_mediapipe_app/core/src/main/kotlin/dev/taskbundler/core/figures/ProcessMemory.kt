package dev.taskbundler.core.figures

/** The memory of a process, in bytes. */
data class ProcessMemory(
    /** What it has alone, and its share of what it has together with others: the system goes by this when memory is short. */
    val pss: Long,
    val nativeHeap: Long,
    /** What the GPU's driver holds for it. */
    val graphics: Long,
    /** Its pages that are in memory, and the most that ever were. */
    val resident: Long,
    val peak: Long,
    /** The part of [resident] that are pages of models and caches; the system drops these where memory is short, and reads them again. */
    val mapped: Long,
)

private const val BYTES_PER_KIBIBYTE = 1024L

/** Bytes that the line [field] of /proc/PID/status says (proc(5)); 0 if there is none. */
fun statusBytes(status: Sequence<String>, field: String): Long = status.firstNotNullOfOrNull { kibibytes(it, field) } ?: 0

/**
 * Bytes in memory of mapped files whose path [isCounted], by the lines of /proc/PID/smaps (proc(5)): a line that begins with a range of
 * addresses and ends in the path begins a mapping, `Rss` is among the lines behind it.
 */
fun mappedBytes(smaps: Sequence<String>, isCounted: (String) -> Boolean): Long {
    var counts = false
    var sum = 0L
    for (line in smaps) {
        if (line[0] in HEXADECIMAL) {
            counts = isCounted(line.split(SPACES, PATH_FIELD + 1).getOrElse(PATH_FIELD) { "" })
        } else if (counts) {
            sum += kibibytes(line, "Rss") ?: 0
        }
    }
    return sum
}

/** The lines about a mapping begin with a capital letter. */
private const val HEXADECIMAL = "0123456789abcdef"
private const val PATH_FIELD = 5
private val SPACES = Regex(" +")

private fun kibibytes(line: String, field: String): Long? {
    if (!line.startsWith("$field:")) return null
    return line.substring(field.length + 1).trim().substringBefore(' ').toLongOrNull()?.times(BYTES_PER_KIBIBYTE)
}
