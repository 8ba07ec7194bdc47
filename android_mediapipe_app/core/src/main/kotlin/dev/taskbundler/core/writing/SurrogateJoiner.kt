package dev.taskbundler.core.writing

/**
 * A step that text goes through on its way from the engine to the screen, piece by piece.
 *
 * A stage may hold text back until it has seen what follows; [finish] gives the rest, once, at the end.
 */
interface TextStage {
    fun push(piece: String): String

    fun finish(): String
}

/** Keeps the halves of a surrogate pair together when an engine hands them over in two pieces; a half left alone becomes U+FFFD. */
class SurrogateJoiner : TextStage {
    private var half: Char? = null

    override fun push(piece: String): String {
        if (piece.isEmpty()) return ""
        val text = StringBuilder(piece.length + 1)
        for (char in piece) {
            val waiting = half
            half = null
            when {
                char.isHighSurrogate() -> {
                    if (waiting != null) text.append(REPLACEMENT)
                    half = char
                }

                char.isLowSurrogate() -> if (waiting == null) text.append(REPLACEMENT) else text.append(waiting).append(char)

                else -> {
                    if (waiting != null) text.append(REPLACEMENT)
                    text.append(char)
                }
            }
        }
        return text.toString()
    }

    override fun finish(): String {
        val rest = if (half == null) "" else REPLACEMENT.toString()
        half = null
        return rest
    }

    private companion object {
        const val REPLACEMENT = '\uFFFD'
    }
}
