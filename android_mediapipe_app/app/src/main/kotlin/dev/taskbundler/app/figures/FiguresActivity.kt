package dev.taskbundler.app.figures

import android.app.Activity
import android.os.Build
import android.os.Bundle
import android.text.format.Formatter
import android.view.LayoutInflater
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import dev.taskbundler.app.R
import dev.taskbundler.app.app
import dev.taskbundler.app.report.breakable
import dev.taskbundler.app.report.figureLine
import dev.taskbundler.app.report.share
import dev.taskbundler.core.figures.Figure
import dev.taskbundler.core.figures.ProcessMemory
import dev.taskbundler.core.figures.Work
import dev.taskbundler.core.figures.encodeFigures

/** The screen of figures: what the app takes now, and what each kind of work took the last time. */
class FiguresActivity :
    Activity(),
    FiguresScreen {
    private val book get() = app.container.figures

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.screen_figures)
        actionBar?.setDisplayHomeAsUpEnabled(true)
    }

    override fun onStart() {
        super.onStart()
        book.attach(this)
    }

    override fun onStop() {
        book.detach(this)
        super.onStop()
    }

    override fun show(now: ProcessMemory?, figures: List<Figure>) {
        val list = findViewById<LinearLayout>(R.id.items)
        list.removeAllViews()
        if (now != null) addRow(list, getString(R.string.figures_now), memoryLines(now))
        for (figure in figures) addRow(list, titleOf(figure), timeLine(figure) + "\n" + memoryLines(figure.memory))
        val button = findViewById<Button>(R.id.share)
        button.isEnabled = now != null
        button.setOnClickListener { if (now != null) send(encodeFigures(phone(), now, figures)) }
    }

    private fun send(json: String) = share(this, getString(R.string.figures_title), json, getString(R.string.figures_share))

    private fun addRow(list: LinearLayout, title: String, facts: String) {
        val row = LayoutInflater.from(this).inflate(R.layout.figure_item, list, false)
        row.findViewById<TextView>(R.id.title).text = breakable(title)
        row.findViewById<TextView>(R.id.facts).text = facts
        list.addView(row)
    }

    private fun titleOf(figure: Figure): String {
        val work = when (figure.work) {
            Work.OPEN -> R.string.figures_open
            Work.MERGE -> R.string.figures_merge
            Work.WRITE -> R.string.figures_write
            Work.TEACH -> R.string.figures_teach
        }
        val what = figure.adapter?.let { getString(R.string.figures_bundle_with, figure.bundle, it) } ?: figure.bundle
        return getString(work, what)
    }

    private fun timeLine(figure: Figure): String =
        figure.stats?.let { figureLine(this, it, null) } ?: getString(R.string.figures_seconds, figure.millis / MILLIS_PER_SECOND)

    private fun memoryLines(memory: ProcessMemory): String = getString(
        R.string.figures_memory,
        size(memory.pss),
        size(memory.nativeHeap),
        size(memory.graphics),
        size(memory.resident),
        size(memory.mapped),
        size(memory.peak),
    )

    private fun size(bytes: Long) = Formatter.formatShortFileSize(this, bytes)

    private fun phone(): Map<String, Any?> {
        val settings = app.container.settings.read()
        return mapOf(
            "app" to packageManager.getPackageInfo(packageName, 0).versionName,
            "android" to Build.VERSION.SDK_INT,
            "phone" to "${Build.MANUFACTURER} ${Build.MODEL}",
            "abis" to Build.SUPPORTED_ABIS.toList(),
            "cores" to Runtime.getRuntime().availableProcessors(),
            "total_memory" to memoryOfPhone(this).totalMem,
            "engine" to settings.engine.name.lowercase(),
            "backend" to settings.backend.name.lowercase(),
        )
    }

    private companion object {
        const val MILLIS_PER_SECOND = 1000.0
    }
}
