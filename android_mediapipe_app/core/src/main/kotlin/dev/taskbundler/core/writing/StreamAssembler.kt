package dev.taskbundler.core.writing

/**
 * Puts an engine's pieces together through [stages], and ends once.
 *
 * Not for several threads at a time. What an engine sends after the end is counted in [late] and otherwise ignored.
 */
class StreamAssembler(private val stages: List<TextStage>) {
    private val written = StringBuilder()

    /** All that was written so far. */
    val text get() = written.toString()

    var isDone = false
        private set

    /** Pieces and ends that came after the end. */
    var late = 0
        private set

    /** What can be shown now that [piece] has come; may be empty. */
    fun push(piece: String): String {
        if (isDone) {
            late++
            return ""
        }
        return keep(stages.fold(piece) { text, stage -> if (text.isEmpty()) "" else stage.push(text) })
    }

    /** What was held back, at the end. */
    fun finish(): String {
        if (isDone) {
            late++
            return ""
        }
        isDone = true
        return keep(stages.fold("") { text, stage -> (if (text.isEmpty()) "" else stage.push(text)) + stage.finish() })
    }

    private fun keep(text: String): String {
        written.append(text)
        return text
    }
}
