package dev.taskbundler.core.writing

/** Counts the tokens of a text; null while the engine cannot say. */
fun interface TokenCounter {
    fun count(text: String): Int?
}

/**
 * The end of a text that is sent to the model.
 *
 * [prompt] begins at [start] of the text and ends where [heldBack], the blanks at its very end, begins: GPT-2's words carry
 * their space in front, so a prompt that ends in a blank asks for a word without one. [tokens] is the engine's count, or
 * an estimate where [exact] is false.
 */
data class PromptWindow(val prompt: String, val heldBack: String, val start: Int, val tokens: Int, val exact: Boolean) {
    /** Whether the beginning of the text was left out. */
    val isCut get() = start > 0
}

/** How much of a context is for the prompt unless the user says otherwise; the other half is for what the model writes. */
const val DEFAULT_WINDOW_SHARE = 0.5

/** No vocabulary in use has words this long on average: bounds how much text is counted at all. */
private const val MOST_CHARACTERS_PER_TOKEN = 16

/** A cut is moved forward to a better place by at most this part of the window. */
private const val GIVE_UP_AT_MOST = 4

/** GPT-2's words have about four letters a token in English, three in Portuguese; to be safe, two. Digits and signs often are one each. */
private const val LETTERS_PER_TOKEN = 2

/** Tokens of [text], rather too many than too few, for when nothing can count. */
fun estimateTokens(text: CharSequence): Int {
    var letters = 0
    var other = 0
    for (char in text) {
        when {
            char in 'a'..'z' || char in 'A'..'Z' || char == ' ' -> letters++
            char < '\u0080' -> other++
            char < '\u0800' || char.isSurrogate() -> other += 2
            else -> other += 3
        }
    }
    return (letters + LETTERS_PER_TOKEN - 1) / LETTERS_PER_TOKEN + other
}

/**
 * The longest end of [text] of at most [budget] tokens, cut at the beginning of a paragraph, a sentence, a line or a word.
 *
 * Tokens are counted by [counter], and estimated where it answers null or a negative number. Throws IllegalArgumentException if
 * [budget] is not positive.
 */
fun promptWindow(text: String, budget: Int, counter: TokenCounter): PromptWindow {
    require(budget > 0) { "a prompt window of $budget tokens holds no text; at least 1 is needed" }
    val body = text.trimEnd(' ', '\t')
    val heldBack = text.substring(body.length)
    var exact = true

    fun tokensFrom(start: Int): Int {
        val part = body.substring(start)
        val counted = counter.count(part)?.takeIf { it >= 0 }
        if (counted == null) exact = false
        return counted ?: estimateTokens(part)
    }

    val earliest = nextCutPoint(body, maxOf(0L, body.length - budget.toLong() * MOST_CHARACTERS_PER_TOKEN).toInt())
    var start = earliest
    var tokens = tokensFrom(start)
    if (tokens > budget) {
        start = firstThatFits(body, earliest) { tokensFrom(it) <= budget }
        tokens = tokensFrom(start)
    }
    if (start > 0) {
        val better = sensibleStart(body, start)
        val then = tokensFrom(better)
        // A word without the blank before it can take a token more.
        if (then <= budget) {
            start = better
            tokens = then
        }
    }
    return PromptWindow(body.substring(start), heldBack, start, tokens, exact)
}

/** The smallest cut point from [low] on whose rest [fits]; a shorter rest never takes much more than a longer one. */
private fun firstThatFits(text: String, low: Int, fits: (Int) -> Boolean): Int {
    var tooEarly = low
    var enough = text.length
    while (true) {
        val middle = nextCutPoint(text, tooEarly + (enough - tooEarly) / 2)
        if (middle <= tooEarly || middle >= enough) break
        if (fits(middle)) enough = middle else tooEarly = middle
    }
    var place = nextCutPoint(text, tooEarly + 1)
    while (place < enough && !fits(place)) place = nextCutPoint(text, place + 1)
    return place
}

/** The best beginning not far after [start]: of a paragraph, else of a sentence, a line, a word; else [start] itself. */
private fun sensibleStart(text: String, start: Int): Int {
    val last = start + (text.length - start) / GIVE_UP_AT_MOST
    val places = (start..last).filter { isWordStart(text, it) }
    return places.firstOrNull { text.startsAfter(it, "\n\n") }
        ?: places.firstOrNull { isSentenceStart(text, it) }
        ?: places.firstOrNull { text[it - 1] == '\n' }
        ?: places.firstOrNull()
        ?: start
}

private fun isWordStart(text: String, index: Int) = index in 1 until text.length && !text[index].isWhitespace() && text[index - 1].isWhitespace()

private fun String.startsAfter(index: Int, ending: String) = startsWith(ending, index - ending.length)

private fun isSentenceStart(text: String, index: Int): Boolean {
    val before = text.substring(maxOf(0, index - 4), index).trimEnd().trimEnd('"', '\'', ')', '”', '’', '»')
    return before.isNotEmpty() && before.last() in ".!?…。！？"
}
