package dev.taskbundler.app.library

import android.app.Activity
import android.content.Context
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
        if (savedInstanceState == null) {
            take(intent)
            if (intent.action == Intent.ACTION_PICK) pick()
        }
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

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        if (requestCode == PICK && resultCode == RESULT_OK && data != null) import(picked(data))
    }

    override fun show(model: LibraryModel) {
        val notice = findViewById<TextView>(R.id.notice)
        notice.visibility = if (model.notice == null) View.GONE else View.VISIBLE
        val told = model.notice?.let { sentence(this, it) }.orEmpty()
        if (notice.text.toString() != told) notice.text = told
        findViewById<View>(R.id.pick).visibility = if (model.isImporting) View.GONE else View.VISIBLE
        findViewById<View>(R.id.cancel).visibility = if (model.isImporting) View.VISIBLE else View.GONE
        findViewById<TextView>(R.id.free).text = getString(R.string.library_free, Formatter.formatFileSize(this, model.contents.freeBytes))
        findViewById<LinearLayout>(R.id.items).let { list ->
            list.removeAllViews()
            ItemList(list) { item -> showItem(this, item, model.contents) { presenter.delete(item) } }.show(model.contents)
        }
    }

    private fun pick() {
        val open = Intent(
            Intent.ACTION_OPEN_DOCUMENT,
        ).addCategory(Intent.CATEGORY_OPENABLE).setType("*/*").putExtra(Intent.EXTRA_ALLOW_MULTIPLE, true)
        startActivityForResult(open, PICK)
    }

    private fun take(intent: Intent) {
        when (intent.action) {
            Intent.ACTION_VIEW -> intent.data?.let { import(listOf(it)) }

            // The forms that replace these came with Android 13.
            Intent.ACTION_SEND -> {
                @Suppress("DEPRECATION")
                intent.getParcelableExtra<Uri>(Intent.EXTRA_STREAM)?.let { import(listOf(it)) }
            }

            Intent.ACTION_SEND_MULTIPLE -> {
                @Suppress("DEPRECATION")
                intent.getParcelableArrayListExtra<Uri>(Intent.EXTRA_STREAM)?.let { import(it) }
            }
        }
    }

    /** One document comes as the intent's data, several as its clip. */
    private fun picked(data: Intent): List<Uri> {
        val clip = data.clipData ?: return listOfNotNull(data.data)
        return (0 until clip.itemCount).mapNotNull { clip.getItemAt(it).uri }
    }

    private fun import(addresses: List<Uri>) = presenter.import(addresses.map { DocumentSource(contentResolver, it) })

    companion object {
        private const val PICK = 1

        /** This screen, with the system's picker open before it. */
        fun picking(context: Context): Intent = Intent(context, LibraryActivity::class.java).setAction(Intent.ACTION_PICK)
    }
}
