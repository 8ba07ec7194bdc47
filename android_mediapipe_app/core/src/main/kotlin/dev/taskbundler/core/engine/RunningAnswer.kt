package dev.taskbundler.core.engine

import dev.taskbundler.core.writing.GenerationMeter
import dev.taskbundler.core.writing.LeadingSpace
import dev.taskbundler.core.writing.PromptWindow
import dev.taskbundler.core.writing.StreamAssembler
import dev.taskbundler.core.writing.SurrogateJoiner
import dev.taskbundler.core.writing.WordFilter
import dev.taskbundler.core.writing.estimateTokens
import dev.taskbundler.core.writing.promptWindow

/** One answer while it is written. */
internal class RunningAnswer(
    val id: Long,
    private val request: GenerationRequest,
    val session: TextSession,
    val options: EngineOptions,
    stripsLeadingSpace: Boolean,
    private val nanos: () -> Long,
) {
    /** Counted on the session that will answer, before it is busy. */
    val window: PromptWindow = promptWindow(request.text, request.windowTokens.coerceIn(1, maxOf(1, options.contextTokens - 2))) { count(it) }

    var reason = EndReason.DONE
    var stopAsked = 0L
    var watchdog: () -> Unit = {}

    private val meter = GenerationMeter(nanos)
    private val raw = StringBuilder()
    private val assembler = StreamAssembler(
        listOf(
            SurrogateJoiner(),
            LeadingSpace(request.text, window.heldBack, stripsLeadingSpace),
            WordFilter(request.words, request.text),
        ),
    )

    fun push(piece: String): String {
        meter.piece(piece)
        raw.append(piece)
        return assembler.push(piece)
    }

    fun finish(): String = assembler.finish()

    /** Pieces may hold several tokens, or tokens several pieces: the larger count is nearer. */
    fun isLongEnough() = maxOf(meter.pieces, estimateTokens(raw) / 2) >= request.outputTokens

    fun isSilent(patience: Patience) = meter.silentMillis() > if (meter.pieces == 0) patience.first else patience.next

    /**
     * The same wish for a shorter end of the text, for when the engine found it too long: where nothing can count, its length was estimated.
     * Null where that is no help.
     */
    fun shorter(): GenerationRequest? {
        val isRefused = !window.exact && meter.pieces == 0 && reason == EndReason.DONE && window.tokens > SHORTEST_ESTIMATE
        return if (isRefused) request.copy(windowTokens = window.tokens * SHORTER_PART / SHORTER_OF) else null
    }

    fun millisSinceStop() = (nanos() - stopAsked) / 1_000_000

    /** To be called when the session is no longer busy. */
    fun completion() = Completion(assembler.text, reason, meter.stats(window, count(raw.toString()), raw.toString(), options.contextTokens))

    /** A tokenizer that fails is no reason not to write. */
    private fun count(text: String): Int? = try {
        if (text.isEmpty()) 0 else session.countTokens(text)
    } catch (_: RuntimeException) {
        null
    }

    private companion object {
        const val SHORTEST_ESTIMATE = 16
        const val SHORTER_PART = 3
        const val SHORTER_OF = 4
    }
}
