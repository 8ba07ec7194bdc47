package dev.taskbundler.app.write

import dev.taskbundler.app.state.Notice
import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.core.writing.GenerationStats
import dev.taskbundler.core.writing.Manuscript

/** A voice to write in; [id] is null for the base. */
data class Chip(val id: String?, val name: String, val isChosen: Boolean)

/** The numbers under the text. */
data class Figures(val stats: GenerationStats, val memoryBytes: Long)

/** Everything that the writing screen shows. */
data class WriteModel(
    val manuscript: Manuscript = Manuscript(),
    val state: CompletionState = CompletionState.IDLE,
    val bundles: List<Chip> = emptyList(),
    val adapters: List<Chip> = emptyList(),
    val figures: Figures? = null,
    val notice: Notice? = null,
    /** What a screen reader is to say of the suggestion: whole sentences, or all of it at the end. */
    val spoken: String = "",
) {
    val isBusy get() = state == CompletionState.GENERATING || state == CompletionState.STOPPING || state == CompletionState.MERGING
    val canContinue get() = !isBusy && state != CompletionState.LOADING && bundles.any { it.isChosen }
    val canStop get() = state == CompletionState.GENERATING || state == CompletionState.MERGING
    val canAccept get() = manuscript.hasSuggestion
    val canRetry get() = manuscript.hasSuggestion && canContinue
    val canGoBack get() = !isBusy && manuscript.earlier.isNotEmpty()
    val canGoForth get() = !isBusy && manuscript.later.isNotEmpty()
    val canUndo get() = manuscript.canUndo
}

/** The screen of a [WritePresenter]. */
fun interface WriteScreen {
    fun show(model: WriteModel)
}

/** The part of [suggestion] that may be spoken while more is coming: up to the end of its last whole sentence. */
fun speakable(suggestion: String): String = suggestion.take(suggestion.indexOfLast { it in ".!?…\n。！？" } + 1)
