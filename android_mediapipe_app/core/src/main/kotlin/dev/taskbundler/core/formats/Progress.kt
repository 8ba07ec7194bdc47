package dev.taskbundler.core.formats

/** Told how far a long piece of work is; called often, on the thread that works. */
fun interface Progress {
    /** [done] of [total] bytes; [total] is null where nobody knows. */
    fun at(done: Long, total: Long?)

    companion object {
        val NONE = Progress { _, _ -> }
    }
}
