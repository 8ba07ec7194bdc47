package dev.taskbundler.core.writing

/**
 * The text being written, the model's suggestion after it, and what can be taken back.
 *
 * A value: each function gives the next one. [text] is the writer's own; [suggestion] is shown after it in another color
 * and is not yet part of it. [undo] holds earlier texts, the latest last, at most [MOST_STEPS].
 */
data class Manuscript(val text: String = "", val suggestion: String = "", val undo: List<String> = emptyList()) {
    /** What the screen shows. */
    val shown get() = text + suggestion

    val hasSuggestion get() = suggestion.isNotEmpty()

    val canUndo get() = hasSuggestion || undo.isNotEmpty()

    /** The model has written [piece] more. */
    fun grown(piece: String) = copy(suggestion = suggestion + piece)

    /** The suggestion becomes part of the text. */
    fun accepted() = if (hasSuggestion) copy(text = shown, suggestion = "", undo = remembered()) else this

    /** The suggestion goes; nothing of the writer's is lost. */
    fun rejected() = copy(suggestion = "")

    /** A new suggestion takes the place of this one. */
    fun retried() = rejected()

    /**
     * The writer has made the field read [shown].
     *
     * Whoever types after or into a suggestion has taken it: then it becomes text, in one step of [undone]. Typing itself is not a
     * step of its own: the keyboard has its own undo, and the text before the last suggestion is what a writer wants back.
     */
    fun edited(shown: String): Manuscript = when {
        shown == this.shown -> this
        hasSuggestion -> Manuscript(shown, "", remembered())
        else -> copy(text = shown)
    }

    /** The suggestion goes first, then the last step. */
    fun undone(): Manuscript = when {
        hasSuggestion -> rejected()
        undo.isEmpty() -> this
        else -> Manuscript(undo.last(), "", undo.dropLast(1))
    }

    private fun remembered() = (undo + text).takeLast(MOST_STEPS)

    companion object {
        const val MOST_STEPS = 50
    }
}
