package dev.taskbundler.core.writing

/**
 * Counts and gives the tokens of GPT-2's byte pair encoding, exactly.
 *
 * [ranks]: of two symbols that are merged, written with a space between, how early. [special] texts are one token each. [ids]: of each
 * symbol and special text; without them tokens are counted only. For one thread.
 */
class BytePairEncoder(private val ranks: Map<String, Int>, private val special: List<String>, private val ids: Map<String, Int> = emptyMap()) :
    TokenCounter {
    // A text is counted again with every tap, and most of its words are those of the last time.
    private val known = object : LinkedHashMap<String, List<String>>(WORDS_KEPT, 0.75f, true) {
        override fun removeEldestEntry(eldest: Map.Entry<String, List<String>>) = size > WORDS_KEPT
    }

    override fun count(text: String): Int {
        var tokens = 0
        divide(text) { tokens += it.size }
        return tokens
    }

    /** The ids of [text]'s tokens; null if one of them has none. */
    fun encode(text: String): IntArray? {
        var tokens = IntArray(text.length / 2 + 1)
        var count = 0
        var isWhole = true
        divide(text) { symbols ->
            if (count + symbols.size > tokens.size) tokens = tokens.copyOf(2 * tokens.size + symbols.size)
            for (symbol in symbols) tokens[count++] = ids[symbol] ?: 0.also { isWhole = false }
        }
        return if (isWhole) tokens.copyOf(count) else null
    }

    /** Tell [onSymbols] the symbols of [text], word by word. */
    private fun divide(text: String, onSymbols: (List<String>) -> Unit) {
        var start = 0
        while (start < text.length) {
            val (at, found) = special.map { text.indexOf(it, start) to it }.filter { it.first >= 0 }.minByOrNull { it.first } ?: (text.length to "")
            for (word in words(text.substring(start, at))) onSymbols(known.getOrPut(word) { merged(word) })
            if (found.isNotEmpty()) onSymbols(listOf(found))
            start = at + found.length
        }
    }

    /** The symbols that are left when nothing more is merged. */
    private fun merged(word: String): List<String> {
        val symbols = word.toByteArray().mapTo(ArrayList()) { PRINTABLE[it.toInt() and 0xFF].toString() }
        while (symbols.size > 1) {
            val best = (0 until symbols.size - 1).minByOrNull { ranks["${symbols[it]} ${symbols[it + 1]}"] ?: Int.MAX_VALUE }!!
            if ("${symbols[best]} ${symbols[best + 1]}" !in ranks) break
            symbols[best] += symbols.removeAt(best + 1)
        }
        return symbols
    }

    private companion object {
        const val WORDS_KEPT = 1 shl 12
    }
}

/** GPT-2's alphabet: a printable character for each byte, itself where it is one. */
private val PRINTABLE: CharArray = run {
    var next = 256
    CharArray(256) { byte -> if (byte in 33..126 || byte in 161..172 || byte in 174..255) byte.toChar() else (next++).toChar() }
}

private val ENDINGS = listOf("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")

/**
 * [text] in GPT-2's words: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
 *
 * Not as a regular expression: phones and this machine's Java differ in what they take for a letter and for white space.
 */
internal fun words(text: String): List<String> {
    val words = ArrayList<String>()
    var at = 0
    while (at < text.length) {
        val end = wordEnd(text, at)
        words += text.substring(at, end)
        at = end
    }
    return words
}

private fun wordEnd(text: String, start: Int): Int {
    ENDINGS.firstOrNull { text.startsWith(it, start) }?.let { return start + it.length }
    val first = if (text[start] == ' ' && start + 1 < text.length) start + 1 else start
    val kind = kindAt(text, first)
    if (kind != Kind.SPACE) return runEnd(text, first, kind)
    val end = runEnd(text, start, Kind.SPACE)
    // The last blank belongs to the word after it.
    return if (end == text.length || end - start == 1) end else end - 1
}

private enum class Kind { LETTER, NUMBER, SPACE, OTHER }

private fun runEnd(text: String, start: Int, kind: Kind): Int {
    var at = start
    while (at < text.length && kindAt(text, at) == kind) at += Character.charCount(Character.codePointAt(text, at))
    return at
}

private val LETTERS = listOf(
    Character.UPPERCASE_LETTER,
    Character.LOWERCASE_LETTER,
    Character.TITLECASE_LETTER,
    Character.MODIFIER_LETTER,
    Character.OTHER_LETTER,
)

private fun kindAt(text: String, index: Int): Kind {
    val codePoint = Character.codePointAt(text, index)
    return when (Character.getType(codePoint).toByte()) {
        in LETTERS -> Kind.LETTER
        Character.DECIMAL_DIGIT_NUMBER, Character.LETTER_NUMBER, Character.OTHER_NUMBER -> Kind.NUMBER
        Character.SPACE_SEPARATOR, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR -> Kind.SPACE
        else -> if (codePoint in 0x9..0xD || codePoint == 0x85) Kind.SPACE else Kind.OTHER
    }
}
