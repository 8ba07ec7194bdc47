package dev.taskbundler.app.write

import android.text.SpannableStringBuilder
import android.text.Spanned
import android.text.style.ForegroundColorSpan
import android.widget.EditText
import dev.taskbundler.core.writing.Manuscript

/** A text field that shows the suggestion after the text, in [color]. */
class SuggestionField(private val field: EditText, private val color: Int) {
    private var last = Manuscript()
    private var span: ForegroundColorSpan? = null

    fun show(manuscript: Manuscript) {
        val content = field.text
        val isGrown = manuscript.text == last.text && manuscript.suggestion.startsWith(last.suggestion) && content.toString() == last.shown
        if (isGrown) {
            // Only what is new is put in: the cursor, the keyboard and the scroll position stay where they are.
            if (manuscript.suggestion.length > last.suggestion.length) content.append(manuscript.suggestion.substring(last.suggestion.length))
        } else if (content.toString() != manuscript.shown) {
            field.setText(SpannableStringBuilder(manuscript.shown))
            field.setSelection(manuscript.shown.length)
        }
        last = manuscript
        colorFrom(manuscript.text.length)
    }

    private fun colorFrom(start: Int) {
        val content = field.text
        span?.let { content.removeSpan(it) }
        span = null
        if (start <
            content.length
        ) {
            span = ForegroundColorSpan(color).also { content.setSpan(it, start, content.length, Spanned.SPAN_EXCLUSIVE_EXCLUSIVE) }
        }
    }
}
