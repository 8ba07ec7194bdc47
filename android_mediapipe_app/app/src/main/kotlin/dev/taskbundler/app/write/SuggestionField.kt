package dev.taskbundler.app.write

import android.text.SpannableStringBuilder
import android.text.Spanned
import android.text.style.ForegroundColorSpan
import android.widget.EditText
import dev.taskbundler.core.writing.Manuscript

/** A text field that shows the suggestion in the text, in [color]. */
class SuggestionField(private val field: EditText, private val color: Int) {
    private var last = Manuscript()
    private var span: ForegroundColorSpan? = null

    fun show(manuscript: Manuscript) {
        val content = field.text
        val isSame = manuscript.before == last.before && manuscript.after == last.after && content.toString() == last.shown
        if (isSame && manuscript.suggestion.startsWith(last.suggestion)) {
            // Only what is new is put in: the cursor, the keyboard and the scroll position stay where they are.
            val piece = manuscript.suggestion.substring(last.suggestion.length)
            if (piece.isNotEmpty()) content.insert(last.place + last.suggestion.length, piece)
        } else if (content.toString() != manuscript.shown) {
            field.setText(SpannableStringBuilder(manuscript.shown))
            field.setSelection(manuscript.place + manuscript.suggestion.length)
        }
        last = manuscript
        colored(manuscript.place, manuscript.place + manuscript.suggestion.length)
    }

    private fun colored(start: Int, end: Int) {
        val content = field.text
        span?.let { content.removeSpan(it) }
        span = if (start == end) null else ForegroundColorSpan(color).also { content.setSpan(it, start, end, Spanned.SPAN_EXCLUSIVE_EXCLUSIVE) }
    }
}
