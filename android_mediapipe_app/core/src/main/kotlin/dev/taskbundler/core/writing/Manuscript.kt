package dev.taskbundler.core.writing

/**
 * The text being written, the model's suggestion in it, and what can be taken back.
 *
 * A value: each function gives the next one. [text] is the writer's own; [suggestion] is shown at [place] of it in another
 * color and is not yet part of it: mostly at the end. [undo] holds earlier texts, the latest last, at most [MOST_STEPS].
 * [earlier] and [later] are the other suggestions for this place, as one goes back and forth between them, at most
 * [MOST_SUGGESTIONS] in all.
 */
data class Manuscript(
    val text: String = "",
    val suggestion: String = "",
    val undo: List<String> = emptyList(),
    val place: Int = text.length,
    val earlier: List<String> = emptyList(),
    val later: List<String> = emptyList(),
) {
    /** What the model goes on from. */
    val before get() = text.take(place)

    /** What stands behind the suggestion. */
    val after get() = text.drop(place)

    /** What the screen shows. */
    val shown get() = before + suggestion + after

    val hasSuggestion get() = suggestion.isNotEmpty()

    val canUndo get() = hasSuggestion || undo.isNotEmpty()

    /**
     * The next suggestion stands at [cursor], or at the end where that is not within the text: before a text there is nothing to go
     * on from. A character of several parts is not divided. Only for a text without a suggestion.
     */
    fun at(cursor: Int) = Manuscript(text, "", undo, if (cursor in 1 until text.length) nextCutPoint(text, cursor) else text.length)

    /** The model has written [piece] more. */
    fun grown(piece: String) = copy(suggestion = suggestion + piece)

    /** The model has ended: words that would run into those behind the suggestion are parted from them. */
    fun ended(): Manuscript {
        val meet = hasSuggestion && after.isNotEmpty() && !suggestion.last().isWhitespace() && !after.first().isWhitespace()
        return if (meet) grown(joint(before + suggestion, after)) else this
    }

    /** The suggestion becomes part of the text. */
    fun accepted() = if (hasSuggestion) Manuscript(shown, "", remembered()) else this

    /** The suggestion goes; nothing of the writer's is lost. */
    fun rejected() = Manuscript(text, "", undo, place)

    /** A new suggestion takes the place of this one, which stays within reach. */
    fun retried() = copy(suggestion = "", earlier = (earlier + shownAlone() + later).takeLast(MOST_SUGGESTIONS - 1), later = emptyList())

    /** The suggestion before this one, where there is one. */
    fun previous() = if (earlier.isEmpty()) this else copy(suggestion = earlier.last(), earlier = earlier.dropLast(1), later = shownAlone() + later)

    /** The suggestion after this one, where there is one. */
    fun next() = if (later.isEmpty()) this else copy(suggestion = later.first(), earlier = earlier + shownAlone(), later = later.drop(1))

    /**
     * The writer has made the field read [shown].
     *
     * Whoever types after or into a suggestion has taken it: then it becomes text, in one step of [undone]. Typing itself is not a
     * step of its own: the keyboard has its own undo, and the text before the last suggestion is what a writer wants back.
     */
    fun edited(shown: String): Manuscript = when {
        shown == this.shown -> this
        hasSuggestion -> Manuscript(shown, "", remembered())
        else -> Manuscript(shown, "", undo)
    }

    /** The suggestion goes first, then the last step. */
    fun undone(): Manuscript = when {
        hasSuggestion -> rejected()
        undo.isEmpty() -> this
        else -> Manuscript(undo.last(), "", undo.dropLast(1))
    }

    /** None where the model has written nothing. */
    private fun shownAlone() = listOf(suggestion).filter { it.isNotEmpty() }

    private fun remembered() = (undo + text).takeLast(MOST_STEPS)

    companion object {
        const val MOST_STEPS = 50
        const val MOST_SUGGESTIONS = 10
    }
}
