package dev.taskbundler.core.writing

/** What stands where a word was. */
const val FILTERED_WORD = "•••"

/** The first listed word or phrase in [text], as the text has it, or null: what the user is told when a text is not sent. */
fun firstListed(text: CharSequence, list: WordList): String? {
    val words = wordsOf(text)
    return words.indices.firstNotNullOfOrNull { first ->
        matchAt(text, words, first, list)?.let { text.substring(words[first].start, words[it].end) }
    }
}

/** [text] with each listed word or phrase replaced by [FILTERED_WORD]. */
fun withoutListed(text: String, list: WordList): String = WordFilter(list).run { push(text) + finish() }

/**
 * Replaces listed words in a stream. A word may come in several pieces: it is held back until something follows that is no
 * part of it, and so is the beginning of a listed phrase.
 *
 * @param before the text the stream goes on from: a word begun there and ended by the stream is seen, and its end replaced
 */
class WordFilter(private val list: WordList, before: CharSequence = "") : TextStage {
    private val pending = StringBuilder(if (list.isEmpty) "" else openEnd(before))
    private var shown = pending.length

    override fun push(piece: String): String {
        if (list.isEmpty) return piece
        pending.append(piece)
        return release(isEnd = false)
    }

    override fun finish(): String = if (list.isEmpty) "" else release(isEnd = true)

    /** Everything that is decided. What is pending begins with [shown] characters that the reader has already. */
    private fun release(isEnd: Boolean): String {
        val words = wordsOf(pending)
        val output = StringBuilder()
        var done = 0
        var index = 0
        while (index < words.size) {
            if (!isEnd && isOpen(words, index)) break
            val last = matchAt(pending, words, index, list)
            if (last == null) {
                index++
                continue
            }
            output.append(visible(done, words[index].start)).append(FILTERED_WORD)
            done = words[last].end
            index = last + 1
        }
        val until = if (index < words.size) words[index].start else pending.length
        // Of what the reader has already, nothing is kept as undecided that could be shown again.
        val end = maxOf(done, until)
        output.append(visible(done, end))
        pending.delete(0, end)
        shown = maxOf(0, shown - end)
        return output.toString()
    }

    private fun visible(from: Int, until: Int): CharSequence = if (maxOf(from, shown) < until) pending.subSequence(maxOf(from, shown), until) else ""

    /** Whether what follows could still change the verdict on the word at [index]. */
    private fun isOpen(words: List<Word>, index: Int): Boolean {
        if (words[index].end == pending.length) return true
        val phrase = ArrayList<String>(list.longest)
        for (next in index until words.size) {
            if (next > index && !joinsPhrase(pending.subSequence(words[next - 1].end, words[next].start))) return false
            if (words[next].end == pending.length) return true
            phrase += words[next].folded
            if (!list.hasLonger(phrase)) return false
        }
        return joinsPhrase(pending.subSequence(words.last().end, pending.length))
    }

    private companion object {
        fun openEnd(before: CharSequence): String {
            var start = before.length
            while (start > 0 &&
                isWordPart(Character.codePointBefore(before, start))
            ) {
                start -= Character.charCount(Character.codePointBefore(before, start))
            }
            return before.substring(start)
        }
    }
}

/** The index of the last word of the longest listed phrase that begins with the word at [first], or null. */
private fun matchAt(text: CharSequence, words: List<Word>, first: Int, list: WordList): Int? {
    var found: Int? = null
    val phrase = ArrayList<String>(list.longest)
    for (index in first until minOf(words.size, first + list.longest)) {
        if (index > first && !joinsPhrase(text.subSequence(words[index - 1].end, words[index].start))) break
        phrase += words[index].folded
        if (phrase in list) found = index
    }
    return found
}
