package dev.taskbundler.core.writing

/** One of the writer's texts. [id] is its own for as long as it is in the list. */
data class WrittenText(val id: Int, val manuscript: Manuscript = Manuscript()) {
    val title get() = titleOf(manuscript.shown)

    val words get() = WORD.findAll(manuscript.shown).count()

    val isBlank get() = manuscript.shown.isBlank()

    private companion object {
        val WORD = Regex("\\S+")
    }
}

/**
 * The writer's texts, the one that was open last first. There is always one, and the first is open.
 *
 * A value: each function gives the next one. Throws IllegalArgumentException without a text.
 */
data class Texts(val all: List<WrittenText> = listOf(WrittenText(FIRST))) {
    init {
        require(all.isNotEmpty()) { "a list of texts has at least one, which is open" }
    }

    val open get() = all.first()

    /** The open text is now [manuscript]. */
    fun changed(manuscript: Manuscript) = if (manuscript == open.manuscript) this else Texts(listOf(open.copy(manuscript = manuscript)) + all.drop(1))

    /** The text with [id] is open; one that was left blank is no text and goes. Without such a text nothing changes. */
    fun opened(id: Int): Texts {
        val text = all.find { it.id == id } ?: return this
        return Texts(listOf(text) + all.filter { it.id != id && !(it.id == open.id && it.isBlank) })
    }

    /** A new text is open; a blank one that is open serves. */
    fun added() = if (open.isBlank) this else Texts(listOf(WrittenText(all.maxOf { it.id } + 1)) + all)

    /** The text with [id] is gone. If it was open, the one before it is, or else a new one. */
    fun without(id: Int): Texts {
        val others = all.filter { it.id != id }
        return if (others.isEmpty()) Texts(listOf(WrittenText(id + 1))) else Texts(others)
    }

    private companion object {
        const val FIRST = 1
    }
}

/** Letters that a title has at most. */
private const val TITLE_LENGTH = 60

/** What a text is called in a list: its first line that says something, cut short where it is long; empty for a blank text. */
fun titleOf(text: String): String {
    val line = text.lineSequence().firstOrNull { it.isNotBlank() }.orEmpty().trim()
    if (line.length <= TITLE_LENGTH) return line
    val end = nextCutPoint(line, TITLE_LENGTH)
    return if (end == line.length) line else line.take(end).trimEnd() + "…"
}
