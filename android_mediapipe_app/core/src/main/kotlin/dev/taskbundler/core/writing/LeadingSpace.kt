package dev.taskbundler.core.writing

/**
 * Makes the first output of an engine fit the text before it.
 *
 * GPT-2's words carry their space in front. MediaPipe's Java layer strips the white space an answer begins with, so "The
 * capital of France is" + "Paris" has to get its space back ([joint]); what it was is nowhere to be read. Engines that strip
 * nothing may repeat the blanks that the prompt was sent without; those are dropped.
 *
 * @param before the text the answer is put after, with the blanks that were held back from the prompt
 * @param heldBack those blanks
 * @param stripped whether the engine strips the white space that an answer begins with
 */
class LeadingSpace(private val before: String, heldBack: String, private val stripped: Boolean) : TextStage {
    private val start = StringBuilder()
    private var begun = false
    private var toDrop = heldBack.length

    override fun push(piece: String): String = when {
        begun -> piece
        stripped -> restored(piece)
        else -> withoutRepeatedBlanks(piece)
    }

    override fun finish(): String {
        if (begun || !stripped) return ""
        begun = true
        return if (start.isEmpty()) "" else joint(before, start) + start
    }

    private fun restored(piece: String): String {
        start.append(piece)
        if (!isFirstWordWhole()) return ""
        begun = true
        return joint(before, start) + start
    }

    private fun withoutRepeatedBlanks(piece: String): String {
        var from = 0
        while (from < piece.length && toDrop > 0 && (piece[from] == ' ' || piece[from] == '\t')) {
            from++
            toDrop--
        }
        if (from < piece.length) begun = true
        return piece.substring(from)
    }

    /** Two letters are not enough to tell whether a word goes on, and to wait for a long word would be seen. */
    private fun isFirstWordWhole(): Boolean {
        val letters = start.indexOfFirst { !it.isLetterOrDigit() }
        return letters >= 0 || start.length >= LETTERS_TO_WAIT_FOR
    }

    private companion object {
        const val LETTERS_TO_WAIT_FOR = 12
    }
}
