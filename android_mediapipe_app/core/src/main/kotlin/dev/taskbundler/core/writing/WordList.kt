package dev.taskbundler.core.writing

import java.text.Normalizer
import java.util.Locale

/**
 * Words and phrases that shall neither be sent nor shown, as the user edits them: one to a line, `#` begins a remark.
 *
 * Compared without regard to case, to width and to how an accent is encoded; in a phrase, any blanks, hyphens or apostrophes part the words.
 */
class WordList private constructor(private val phrases: Set<List<String>>) {
    val isEmpty get() = phrases.isEmpty()

    /** How many entries there are. */
    val size get() = phrases.size

    internal val longest = phrases.maxOfOrNull { it.size } ?: 0
    private val beginnings: Set<List<String>> = phrases.flatMapTo(HashSet()) { phrase -> (1 until phrase.size).map { phrase.subList(0, it) } }

    internal operator fun contains(words: List<String>) = words in phrases

    /** Whether a longer entry begins with these words. */
    internal fun hasLonger(words: List<String>) = words in beginnings

    companion object {
        val EMPTY = WordList(emptySet())

        fun parse(text: String): WordList = WordList(
            text.lineSequence()
                .map { line -> wordsOf(line.substringBefore('#')).map { it.folded } }
                .filterTo(LinkedHashSet()) { it.isNotEmpty() },
        )
    }
}

/** A word at [start] until [end] of a text; [folded] is what is compared. */
internal data class Word(val start: Int, val end: Int, val folded: String)

/** The words of [text]: runs of letters, digits and marks of any script. */
internal fun wordsOf(text: CharSequence): List<Word> {
    val words = ArrayList<Word>()
    var start = -1
    var index = 0
    while (index <= text.length) {
        val isPart = index < text.length && isWordPart(Character.codePointAt(text, index))
        if (isPart && start < 0) start = index
        if (!isPart && start >= 0) {
            words += Word(start, index, fold(text.substring(start, index)))
            start = -1
        }
        index += if (index < text.length) Character.charCount(Character.codePointAt(text, index)) else 1
    }
    return words
}

/** Whether [between], found between two words, lets them be a phrase. */
internal fun joinsPhrase(between: CharSequence) = between.all { it.isWhitespace() || it in "-‐‑'’" }

internal fun isWordPart(codePoint: Int) = Character.isLetterOrDigit(codePoint) || isMark(codePoint) || codePoint in INVISIBLE

/** Zero-width non-joiner and joiner, which Persian and Indian words have inside, and the soft hyphen. */
private val INVISIBLE = setOf(0x200C, 0x200D, 0x00AD)

// Upper case first: some letters, such as the German sharp s, have no lower-case twin but an upper-case form of two letters.
private fun fold(word: String): String {
    val visible = Normalizer.normalize(word.filterNot { it.code in INVISIBLE }, Normalizer.Form.NFKC)
    return Normalizer.normalize(visible.uppercase(Locale.ROOT).lowercase(Locale.ROOT), Normalizer.Form.NFKC)
}
