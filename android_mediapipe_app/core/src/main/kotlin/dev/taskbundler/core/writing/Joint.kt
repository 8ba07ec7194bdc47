package dev.taskbundler.core.writing

private const val CLINGS_TO_THE_LEFT = ".,;:!?)]}%…’”»、。，！？：；）」』"
private const val CLINGS_TO_THE_RIGHT = "([{“‘«¿¡/\\@#$€£~^`_（「『"
private const val HYPHENS = "-‐‑–—"

/** Shorter ends of a text are mostly words of their own: is, in, to. */
private const val LETTERS_OF_A_FRAGMENT = 3
private const val BRACKETS = "([{"
private val AFTER_APOSTROPHE = setOf("s", "t", "d", "m", "re", "ve", "ll")
private val AFTER_DIGITS = setOf("st", "nd", "rd", "th", "s", "º", "ª", "km", "kg", "cm", "mm")
private val BLOCKS_WITHOUT_SPACES = setOf(
    Character.UnicodeScript.HAN,
    Character.UnicodeScript.HIRAGANA,
    Character.UnicodeScript.KATAKANA,
    Character.UnicodeScript.THAI,
    Character.UnicodeScript.LAO,
    Character.UnicodeScript.KHMER,
    Character.UnicodeScript.MYANMAR,
)

/**
 * The white space that most likely stood between [before] and [output], whose own was stripped.
 *
 * Words are parted, except where together they are a word that the text has already used ("Lisb" + "on" after "Lisbon"), in
 * scripts that part none, within numbers, and around punctuation. In program text a line that opens a block is followed by
 * a new, deeper line. It is a guess: only an engine that strips nothing says for certain.
 */
fun joint(before: CharSequence, output: CharSequence): String {
    if (before.isEmpty() || output.isEmpty()) return ""
    val last = Character.codePointBefore(before, before.length)
    val first = Character.codePointAt(output, 0)
    if (last == '\n'.code) return if (isProgramText(before)) indentFor(before, output) else ""
    if (Character.isWhitespace(last) || Character.isWhitespace(first)) return ""
    val isProgram = isProgramText(before)
    if (isProgram) lineBreakInProgram(before, output)?.let { return it }
    return if (touch(before, last, output, first, isProgram)) "" else " "
}

private fun touch(before: CharSequence, last: Int, output: CharSequence, first: Int, isProgram: Boolean): Boolean = when {
    first in CLINGS_TO_THE_LEFT || last in CLINGS_TO_THE_RIGHT -> true
    first == '\''.code -> isContraction(output) || hasOpenQuote(before, '\'')
    first == '"'.code -> hasOpenQuote(before, '"')
    last == '"'.code -> hasOpenQuote(before, '"')
    first in BRACKETS -> isProgram
    first in HYPHENS || last in HYPHENS -> !(before.length > 1 && before[before.length - 2].isWhitespace())
    Character.isDigit(first) -> isWithinNumber(before, last)
    Character.isDigit(last) -> output.word() in AFTER_DIGITS
    last == '.'.code && isProgram -> true
    last == '\''.code || last == '’'.code -> output.word() in AFTER_APOSTROPHE
    partsNoWords(last) || partsNoWords(first) -> true
    Character.isLetter(last) && Character.isLetter(first) -> isKnownWord(before, output)
    else -> false
}

private operator fun String.contains(codePoint: Int) = codePoint < Char.MAX_VALUE.code && indexOf(codePoint.toChar()) >= 0

private fun CharSequence.word() = takeWhile { it.isLetter() }.toString().lowercase()

private fun isContraction(output: CharSequence) = output.drop(1).word() in AFTER_APOSTROPHE

private fun isWithinNumber(before: CharSequence, last: Int): Boolean =
    Character.isDigit(last) || (last in ".,:" && before.length > 1 && before[before.length - 2].isDigit())

/** Whether the paragraph has an odd number of this quotation mark, apostrophes within words not counted. */
private fun hasOpenQuote(before: CharSequence, mark: Char): Boolean {
    val paragraph = before.substring(before.lastIndexOf('\n') + 1)
    return paragraph.indices.count {
        paragraph[it] == mark && !(it > 0 && it + 1 < paragraph.length && paragraph[it - 1].isLetter() && paragraph[it + 1].isLetter())
    } % 2 == 1
}

private fun partsNoWords(codePoint: Int) = Character.UnicodeScript.of(codePoint) in BLOCKS_WITHOUT_SPACES

/** Whether the last word of [before] and the first of [output] make a word that [before] has used, and the halves do not. */
private fun isKnownWord(before: CharSequence, output: CharSequence): Boolean {
    val half = before.takeLastWhile { it.isLetter() }.toString().lowercase()
    if (half.length < LETTERS_OF_A_FRAGMENT) return false
    val whole = half + output.word()
    var found = false
    for (word in WORD.findAll(before.subSequence(0, before.length - half.length))) {
        val seen = word.value.lowercase()
        if (seen == half) return false
        if (seen == whole) found = true
    }
    return found
}

private val WORD = Regex("\\p{L}+")
