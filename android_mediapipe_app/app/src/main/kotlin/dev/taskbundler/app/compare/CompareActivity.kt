package dev.taskbundler.app.compare

import android.app.Activity
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import dev.taskbundler.app.R
import dev.taskbundler.app.app
import dev.taskbundler.app.report.breakable
import dev.taskbundler.app.report.figureLine
import dev.taskbundler.app.report.sentence

/** Base and adapter side by side, on the text of the writing screen. */
class CompareActivity :
    Activity(),
    CompareScreen {
    private val presenter get() = app.comparing

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.screen_compare)
        actionBar?.setDisplayHomeAsUpEnabled(true)
        stackIfNarrow()
        findViewById<TextView>(R.id.prompt).text = getString(R.string.compare_prompt, app.writing.draft.text)
        findViewById<Button>(R.id.run).setOnClickListener { run() }
        findViewById<Button>(R.id.stop).setOnClickListener { presenter.stop() }
        findViewById<Button>(R.id.base_use).setOnClickListener { use { it.base } }
        findViewById<Button>(R.id.adapted_use).setOnClickListener { use { it.adapted } }
    }

    override fun onStart() {
        super.onStart()
        presenter.attach(this)
    }

    override fun onStop() {
        presenter.detach(this)
        super.onStop()
    }

    override fun onDestroy() {
        // Not when the phone is only turned.
        if (isFinishing) presenter.end()
        super.onDestroy()
    }

    override fun show(model: CompareModel) {
        val notice = findViewById<TextView>(R.id.notice)
        notice.visibility = if (model.notice == null) View.GONE else View.VISIBLE
        val told = model.notice?.let { sentence(this, it) }.orEmpty()
        if (notice.text.toString() != told) notice.text = told
        showSide(model.base, R.id.base_name, R.id.base_text, R.id.base_figures, R.id.base_use)
        showSide(model.adapted, R.id.adapted_name, R.id.adapted_text, R.id.adapted_figures, R.id.adapted_use)
        // One at a time: at large fonts both have no room beside each other.
        findViewById<View>(R.id.run).visibility = if (model.running == null) View.VISIBLE else View.GONE
        findViewById<View>(R.id.stop).visibility = if (model.running == null) View.GONE else View.VISIBLE
    }

    private fun showSide(side: Side, name: Int, text: Int, figures: Int, use: Int) {
        findViewById<TextView>(name).text = breakable(side.name)
        // It would look like an indent.
        findViewById<TextView>(text).text = side.text.removePrefix(" ")
        findViewById<TextView>(figures).text = side.stats?.let { figureLine(this, it, null) }.orEmpty()
        val button = findViewById<Button>(use)
        button.isEnabled = side.stats != null && side.text.isNotEmpty()
        button.contentDescription = getString(R.string.compare_use_description, side.name)
    }

    /** One text below the other where two columns would have room for a word or two in a line. */
    private fun stackIfNarrow() {
        val configuration = resources.configuration
        if (configuration.screenWidthDp / configuration.fontScale >= LEAST_WIDTH_FOR_TWO) return
        val sides = findViewById<LinearLayout>(R.id.sides)
        sides.orientation = LinearLayout.VERTICAL
        for (index in 0 until sides.childCount) {
            sides.getChildAt(index).layoutParams =
                LinearLayout.LayoutParams(LinearLayout.LayoutParams.MATCH_PARENT, LinearLayout.LayoutParams.WRAP_CONTENT)
        }
    }

    private fun run() {
        val choice = app.writing.choice
        if (choice?.adapter == null) {
            findViewById<TextView>(R.id.notice).let {
                it.visibility = View.VISIBLE
                it.setText(R.string.compare_no_adapter)
            }
        } else {
            presenter.compare(app.writing.draft.text, choice, app.writing.contents)
        }
    }

    private fun use(side: (CompareModel) -> Side) {
        app.writing.suggest(side(presenter.model).text)
        finish()
    }

    private companion object {
        /** Density-independent pixels at a font of 100 %. */
        const val LEAST_WIDTH_FOR_TWO = 300
    }
}
