package dev.taskbundler.app.write

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.text.Editable
import android.text.TextWatcher
import android.view.Menu
import android.view.MenuItem
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.RadioGroup
import android.widget.TextView
import dev.taskbundler.app.R
import dev.taskbundler.app.app
import dev.taskbundler.app.compare.CompareActivity
import dev.taskbundler.app.figures.FiguresActivity
import dev.taskbundler.app.library.LibraryActivity
import dev.taskbundler.app.library.showItem
import dev.taskbundler.app.report.copy
import dev.taskbundler.app.report.figureLine
import dev.taskbundler.app.report.sentence
import dev.taskbundler.app.report.share
import dev.taskbundler.app.report.shareLog
import dev.taskbundler.app.settings.SettingsActivity
import dev.taskbundler.app.state.Notice
import dev.taskbundler.app.teach.TeachActivity
import dev.taskbundler.core.writing.CompletionState

/** The writing screen: shows what [WritePresenter] says and tells it what is tapped. */
class WriteActivity :
    Activity(),
    WriteScreen {
    private val presenter get() = app.writing
    private lateinit var field: EditText
    private lateinit var suggestion: SuggestionField
    private lateinit var bundles: ChipRow
    private lateinit var adapters: ChipRow
    private var isShowing = false

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.screen_write)
        field = findViewById(R.id.text)
        suggestion = SuggestionField(field, getColor(R.color.suggestion))
        bundles =
            ChipRow(findViewById<RadioGroup>(R.id.bundles), R.string.chip_bundle_description, { it?.let(presenter::chooseBundle) }) { showItem(it) }
        adapters = ChipRow(findViewById<RadioGroup>(R.id.adapters), R.string.chip_adapter_description, presenter::choose) { showItem(it) }
        field.addTextChangedListener(
            object : TextWatcher {
                override fun beforeTextChanged(text: CharSequence?, start: Int, count: Int, after: Int) = Unit

                override fun onTextChanged(text: CharSequence?, start: Int, before: Int, count: Int) = Unit

                override fun afterTextChanged(text: Editable?) {
                    if (!isShowing) presenter.edited(text.toString())
                }
            },
        )
        onTap(R.id.go_on) { presenter.complete(field.selectionEnd) }
        onTap(R.id.stop) { presenter.stop() }
        onTap(R.id.accept) { presenter.accept() }
        onTap(R.id.retry) { presenter.retry() }
        onTap(R.id.previous) { presenter.previous() }
        onTap(R.id.next) { presenter.next() }
        onTap(R.id.undo) { presenter.undo() }
        onTap(R.id.choose_bundle) { startActivity(LibraryActivity.picking(this)) }
        onTap(R.id.safe_mode_try) { presenter.leaveSafeMode(onCpu = false) }
        onTap(R.id.safe_mode_cpu) { presenter.leaveSafeMode(onCpu = true) }
    }

    override fun onStart() {
        super.onStart()
        presenter.attach(this)
        presenter.start()
    }

    override fun onSaveInstanceState(state: Bundle) {
        super.onSaveInstanceState(state)
        state.putInt(CURSOR, field.selectionEnd)
    }

    override fun onRestoreInstanceState(state: Bundle) {
        super.onRestoreInstanceState(state)
        // The text itself is the presenter's, and is there since onStart.
        field.setSelection(state.getInt(CURSOR).coerceIn(0, field.text.length))
    }

    override fun onStop() {
        presenter.save()
        presenter.detach(this)
        super.onStop()
    }

    override fun onCreateOptionsMenu(menu: Menu): Boolean {
        menuInflater.inflate(R.menu.write, menu)
        return true
    }

    override fun onOptionsItemSelected(item: MenuItem): Boolean {
        when (item.itemId) {
            R.id.menu_library -> openLibrary()
            R.id.menu_texts -> startActivity(Intent(this, TextsActivity::class.java))
            R.id.menu_compare -> startActivity(Intent(this, CompareActivity::class.java))
            R.id.menu_teach -> startActivity(Intent(this, TeachActivity::class.java))
            R.id.menu_figures -> startActivity(Intent(this, FiguresActivity::class.java))
            R.id.menu_settings -> startActivity(Intent(this, SettingsActivity::class.java))
            R.id.menu_copy_text -> copy(this, getString(R.string.app_name), presenter.draft.text)
            R.id.menu_share_text -> share(this, getString(R.string.app_name), presenter.draft.text, getString(R.string.menu_share_text))
            R.id.menu_share_log -> shareLog(this)
            else -> return super.onOptionsItemSelected(item)
        }
        return true
    }

    override fun show(model: WriteModel) {
        isShowing = true
        suggestion.show(model.manuscript)
        isShowing = false
        bundles.show(model.bundles)
        adapters.show(model.adapters)
        findViewById<View>(R.id.bundle_row).visibility = if (model.bundles.size > 1) View.VISIBLE else View.GONE
        findViewById<View>(R.id.adapter_row).visibility = if (model.bundles.isEmpty()) View.GONE else View.VISIBLE
        // Reading along is no touch.
        field.keepScreenOn = model.isBusy || model.state == CompletionState.LOADING
        showButtons(model)
        showNotice(model)
        val spoken = if (model.spoken.isEmpty()) "" else getString(R.string.suggestion_spoken, model.spoken)
        setIfNew(R.id.spoken, spoken)
        setIfNew(R.id.figures, model.figures?.let { figureLine(this, it.stats, it.memoryBytes) }.orEmpty())
    }

    private fun showButtons(model: WriteModel) {
        findViewById<View>(R.id.stop).visibility = if (model.canStop) View.VISIBLE else View.GONE
        findViewById<View>(R.id.go_on).visibility = if (model.canStop) View.GONE else View.VISIBLE
        findViewById<View>(R.id.go_on).isEnabled = model.canContinue
        findViewById<View>(R.id.accept).isEnabled = model.canAccept
        findViewById<View>(R.id.retry).isEnabled = model.canRetry
        findViewById<View>(R.id.undo).isEnabled = model.canUndo
        val several = if (model.canGoBack || model.canGoForth) View.VISIBLE else View.GONE
        findViewById<View>(R.id.previous).visibility = several
        findViewById<View>(R.id.next).visibility = several
        findViewById<View>(R.id.previous).isEnabled = model.canGoBack
        findViewById<View>(R.id.next).isEnabled = model.canGoForth
    }

    private fun showNotice(model: WriteModel) {
        // An engine that was closed for its memory opens again with the next tap.
        val notice = model.notice?.takeUnless { it == Notice.State(CompletionState.READY) || it == Notice.State(CompletionState.IDLE) }
        findViewById<View>(R.id.notice_box).visibility = if (notice == null) View.GONE else View.VISIBLE
        findViewById<View>(R.id.choose_bundle).visibility = if (notice == Notice.NoBundle) View.VISIBLE else View.GONE
        findViewById<View>(R.id.safe_mode).visibility = if (notice is Notice.SafeMode) View.VISIBLE else View.GONE
        setIfNew(R.id.notice, notice?.let { sentence(this, it) }.orEmpty())
        // Where letters are large there is no room for both beside the text.
        findViewById<View>(R.id.figures).visibility = if (notice == null) View.VISIBLE else View.GONE
    }

    /** A screen reader speaks what is set, also if it is what was there. */
    private fun setIfNew(id: Int, text: String) {
        val view = findViewById<TextView>(id)
        if (view.text.toString() != text) view.text = text
    }

    private fun showItem(id: String) {
        val contents = presenter.contents
        val item = contents.bundle(id) ?: contents.adapter(id) ?: return
        showItem(this, item, contents) { app.library.delete(item) }
    }

    private fun openLibrary() = startActivity(Intent(this, LibraryActivity::class.java))

    private fun onTap(id: Int, action: () -> Unit) = findViewById<Button>(id).setOnClickListener { action() }

    private companion object {
        const val CURSOR = "cursor"
    }
}
