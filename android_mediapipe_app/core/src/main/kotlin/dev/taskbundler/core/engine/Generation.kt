package dev.taskbundler.core.engine

import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.core.writing.GenerationStats
import dev.taskbundler.core.writing.WordList

/**
 * A wish for a continuation of [text].
 *
 * [windowTokens] bounds how much of it is sent, [outputTokens] about how much is written; [adapterPath] is an adapter file
 * for the engine itself, not for a merged copy. [words] are neither sent nor shown.
 */
data class GenerationRequest(
    val text: String,
    val sampling: Sampling,
    val windowTokens: Int,
    val outputTokens: Int,
    val adapterPath: String? = null,
    val words: WordList = WordList.EMPTY,
)

/** Why an answer ended. */
enum class EndReason {
    /** The model wrote its end. */
    DONE,

    /** There was no room for more, or not even for the prompt; the engine stays open. */
    FULL,

    /** The user stopped it. */
    STOPPED,

    /** As much was written as was asked for. */
    LIMIT,

    /** The engine was silent for too long and was stopped. */
    SILENT,
}

/** A finished answer: all that was shown of it, and what it took. */
data class Completion(val text: String, val reason: EndReason, val stats: GenerationStats)

/** How long an engine may be silent, in milliseconds: before the first piece, between pieces, and after it was asked to stop. */
data class Patience(val first: Long = 120_000, val next: Long = 30_000, val stop: Long = 15_000, val step: Long = 1_000)

/** Told what happens, in order, on the controller's thread. `id` is what [EngineController.generate] returned. */
interface EngineObserver {
    fun onState(state: CompletionState) {}

    fun onText(id: Long, text: String) {}

    fun onFinished(id: Long, completion: Completion) {}

    /** [id] is null where no generation was meant. */
    fun onRefused(id: Long?, refusal: Refusal) {}

    /** [id] is the generation that failed, if one was running; what it wrote so far was told before. */
    fun onFailed(id: Long?, failure: EngineFailure) {}

    fun onLog(line: String) {}
}
