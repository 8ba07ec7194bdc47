package dev.taskbundler.app.library

import android.app.Activity
import android.app.AlertDialog
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.text.format.Formatter
import android.view.View
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import dev.taskbundler.app.R
import dev.taskbundler.app.app
import dev.taskbundler.app.report.sentence
import dev.taskbundler.core.catalogue.MergedCopy
import dev.taskbundler.core.catalogue.Stored

/** The screen of bundles and adapters; also what opens when another app opens a bundle with this one. */
class LibraryActivity :
    Activity(),
    LibraryScreen {
    private val presenter get() = app.library

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.screen_library)
        actionBar?.setDisplayHomeAsUpEnabled(true)
        findViewById<Button>(R.id.pick).setOnClickListener { pick() }
        findViewById<Button>(R.id.cancel).setOnClickListener { presenter.cancelImport() }
        // After a rotation the file has been taken already.
        if (savedInstanceState == null) take(intent)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        take(intent)
    }

    override fun onStart() {
        super.onStart()
        presenter.attach(this)
    }

    override fun onStop() {
        presenter.detach(this)
        super.onStop()
    }

    // The framework's own; the newer way is in a library that this app does not need otherwise.
    @Suppress("OVERRIDE_DEPRECATION")
    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        if (requestCode == PICK && resultCode == RESULT_OK) data?.data?.let { import(it) }
    }

    override fun show(model: LibraryModel) {
        val notice = findViewById<TextView>(R.id.notice)
        notice.visibility = if (model.notice == null) View.GONE else View.VISIBLE
        val told = model.notice?.let { sentence(this, it) }.orEmpty()
        if (notice.text.toString() != told) notice.text = told
        findViewById<View>(R.id.pick).isEnabled = !model.isImporting
        findViewById<View>(R.id.cancel).visibility = if (model.isImporting) View.VISIBLE else View.GONE
        findViewById<TextView>(R.id.free).text = getString(R.string.library_free, Formatter.formatFileSize(this, model.contents.freeBytes))
        findViewById<LinearLayout>(R.id.items).let { list ->
            list.removeAllViews()
            ItemList(list, ::askToDelete).show(model.contents)
        }
    }

    private fun pick() {
        val open = Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("*/*")
        @Suppress("DEPRECATION")
        startActivityForResult(open, PICK)
    }

    private fun take(intent: Intent) {
        when (intent.action) {
            Intent.ACTION_VIEW -> intent.data?.let { import(it) }

            Intent.ACTION_SEND -> {
                @Suppress("DEPRECATION")
                intent.getParcelableExtra<Uri>(Intent.EXTRA_STREAM)?.let { import(it) }
            }
        }
    }

    private fun import(address: Uri) = presenter.import(DocumentSource(contentResolver, address))

    private fun askToDelete(item: Stored, freed: Long) {
        val size = Formatter.formatFileSize(this, freed)
        val message = if (item is MergedCopy) R.string.library_delete_copy_message else R.string.library_delete_message
        AlertDialog.Builder(this)
            .setTitle(getString(R.string.library_delete_title, item.name))
            .setMessage(getString(message, size))
            .setPositiveButton(R.string.library_delete) { _, _ -> presenter.delete(item) }
            .setNegativeButton(R.string.library_cancel, null)
            .show()
    }

    private companion object {
        const val PICK = 1
    }
}
