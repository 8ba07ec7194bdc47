package dev.taskbundler.app.write

import android.app.Activity
import android.app.AlertDialog
import android.os.Bundle
import android.view.LayoutInflater
import android.view.View
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import dev.taskbundler.app.R
import dev.taskbundler.app.app
import dev.taskbundler.app.report.breakable
import dev.taskbundler.core.writing.WrittenText

/** The screen of the writer's texts: one is opened, begun or deleted. */
class TextsActivity :
    Activity(),
    WriteScreen {
    private val presenter get() = app.writing
    private var last: List<WrittenText>? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.screen_texts)
        actionBar?.setDisplayHomeAsUpEnabled(true)
        findViewById<Button>(R.id.new_text).setOnClickListener { leaveAfter { presenter.newText() } }
    }

    override fun onStart() {
        super.onStart()
        presenter.attach(this)
    }

    override fun onStop() {
        presenter.detach(this)
        super.onStop()
    }

    override fun show(model: WriteModel) {
        val texts = presenter.desk.texts
        if (texts.all == last) return
        last = texts.all
        val list = findViewById<LinearLayout>(R.id.texts)
        list.removeAllViews()
        for (text in texts.all) list.addView(row(list, text, isOpen = text == texts.open))
    }

    private fun row(list: LinearLayout, text: WrittenText, isOpen: Boolean): View {
        val row = LayoutInflater.from(this).inflate(R.layout.text_item, list, false)
        val title = titleOf(text)
        val open = row.findViewById<TextView>(R.id.title)
        open.text = breakable(title)
        open.contentDescription = getString(R.string.texts_open_description, title)
        open.setOnClickListener { leaveAfter { presenter.openText(text.id) } }
        val words = resources.getQuantityString(R.plurals.texts_words, text.words, text.words)
        row.findViewById<TextView>(R.id.facts).text = if (isOpen) getString(R.string.texts_facts_open, words) else words
        val delete = row.findViewById<Button>(R.id.delete)
        delete.contentDescription = getString(R.string.library_delete_description, title)
        delete.setOnClickListener { ask(text) }
        return row
    }

    private fun ask(text: WrittenText) {
        AlertDialog.Builder(this)
            // Not as the dialog's title, which would be cut short.
            .setMessage(getString(R.string.texts_delete_message, breakable(titleOf(text))))
            .setPositiveButton(R.string.library_delete) { _, _ -> presenter.deleteText(text.id) }
            .setNegativeButton(R.string.library_cancel, null)
            .show()
    }

    private fun titleOf(text: WrittenText) = text.title.ifEmpty { getString(R.string.texts_blank) }

    private fun leaveAfter(action: () -> Unit) {
        action()
        finish()
    }
}
