package dev.taskbundler.core.writing

private const val ZERO_WIDTH_JOINER = '\u200D'
private val SKIN_TONES = 0x1F3FB..0x1F3FF
private val REGIONAL_INDICATORS = 0x1F1E6..0x1F1FF
private val VARIATION_SELECTORS = '\uFE00'..'\uFE0F'

/**
 * Whether a text may be cut before [index] without breaking what a reader sees as one character.
 *
 * Not between the halves of a surrogate pair, before a combining mark, a variation selector or a skin tone, at a zero-width
 * joiner, inside CR LF, or inside a flag. These are the common cases of Unicode's UAX #29; Hangul in single letters is not seen.
 */
fun isCutPoint(text: CharSequence, index: Int): Boolean {
    if (index <= 0 || index >= text.length) return true
    val before = text[index - 1]
    val after = text[index]
    if (before.isHighSurrogate() && after.isLowSurrogate()) return false
    if (before == '\r' && after == '\n') return false
    if (before == ZERO_WIDTH_JOINER || after == ZERO_WIDTH_JOINER || after in VARIATION_SELECTORS) return false
    val next = Character.codePointAt(text, index)
    if (isMark(next) || next in SKIN_TONES) return false
    return next !in REGIONAL_INDICATORS || flagHalvesBefore(text, index) % 2 == 0
}

/** The first place at or after [index] where [text] may be cut. */
fun nextCutPoint(text: CharSequence, index: Int): Int {
    var place = index.coerceIn(0, text.length)
    while (!isCutPoint(text, place)) place++
    return place
}

internal fun isMark(codePoint: Int): Boolean = when (Character.getType(codePoint).toByte()) {
    Character.NON_SPACING_MARK, Character.ENCLOSING_MARK, Character.COMBINING_SPACING_MARK -> true
    else -> false
}

private fun flagHalvesBefore(text: CharSequence, index: Int): Int {
    var place = index
    var count = 0
    while (place >= 2 && Character.codePointBefore(text, place) in REGIONAL_INDICATORS) {
        place -= 2
        count++
    }
    return count
}
