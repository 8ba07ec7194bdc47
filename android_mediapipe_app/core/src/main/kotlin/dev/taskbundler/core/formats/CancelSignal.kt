package dev.taskbundler.core.formats

import java.util.concurrent.CancellationException

/** One thread asks, another that works stops at the next chance and leaves nothing behind. */
class CancelSignal {
    @Volatile
    var isCancelled = false
        private set

    fun cancel() {
        isCancelled = true
    }

    /** Throws [CancellationException] once [cancel] was called. */
    fun check() {
        if (isCancelled) throw CancellationException("stopped by the user")
    }
}
