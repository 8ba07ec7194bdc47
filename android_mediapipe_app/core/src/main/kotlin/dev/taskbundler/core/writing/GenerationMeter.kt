package dev.taskbundler.core.writing

/** What one completion took. Times in milliseconds; null where there was nothing to measure. */
data class GenerationStats(
    val promptTokens: Int,
    val outputTokens: Int,
    /** Whether an engine counted; else both numbers are estimates. */
    val exact: Boolean,
    val contextTokens: Int,
    val firstTokenMillis: Long?,
    /** Tokens after the first piece over the time after it. */
    val tokensPerSecond: Double?,
    val totalMillis: Long,
) {
    val usedTokens get() = promptTokens + outputTokens
}

/** Takes the time of one completion; [nanos] is a clock that only goes forward. */
class GenerationMeter(private val nanos: () -> Long) {
    private val started = nanos()
    private var first: Long? = null
    private var firstPiece = 0
    private var last = started

    /** Pieces that had text in them. */
    var pieces = 0
        private set

    /** Characters received. */
    var characters = 0
        private set

    fun piece(text: String) {
        if (text.isEmpty()) return
        last = nanos()
        if (first == null) {
            first = last
            firstPiece = maxOf(1, estimateTokens(text) / 2)
        }
        pieces++
        characters += text.length
    }

    /** Milliseconds since the last piece, or since the start. */
    fun silentMillis(): Long = (nanos() - last) / NANOS_PER_MILLI

    fun stats(window: PromptWindow, outputTokens: Int?, output: String, contextTokens: Int): GenerationStats {
        val tokens = outputTokens ?: estimateTokens(output)
        val begin = first
        val seconds = if (begin == null) 0.0 else (last - begin) / NANOS_PER_SECOND
        val later = tokens - firstPiece
        return GenerationStats(
            promptTokens = window.tokens,
            outputTokens = tokens,
            exact = window.exact && outputTokens != null,
            contextTokens = contextTokens,
            firstTokenMillis = begin?.let { (it - started) / NANOS_PER_MILLI },
            tokensPerSecond = if (seconds > 0 && later > 0) later / seconds else null,
            totalMillis = (last - started) / NANOS_PER_MILLI,
        )
    }

    private companion object {
        const val NANOS_PER_MILLI = 1_000_000L
        const val NANOS_PER_SECOND = 1e9
    }
}
