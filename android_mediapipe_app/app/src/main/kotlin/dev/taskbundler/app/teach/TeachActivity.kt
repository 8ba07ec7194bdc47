package dev.taskbundler.app.teach

import android.app.Activity
import android.content.Context
import android.content.Intent
import android.os.Bundle
import android.text.Editable
import android.text.TextWatcher
import android.text.format.Formatter
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.ProgressBar
import android.widget.TextView
import dev.taskbundler.app.R
import dev.taskbundler.app.app
import dev.taskbundler.app.library.DocumentSource
import dev.taskbundler.app.report.breakable
import dev.taskbundler.app.report.sentence
import dev.taskbundler.core.training.TrainingEnd
import dev.taskbundler.core.training.TrainingProgress
import java.util.Locale

/** The teaching screen: shows what [TeachPresenter] says and tells it what is tapped. */
class TeachActivity :
    Activity(),
    TeachScreen {
    private val presenter get() = app.teaching
    private var isShowing = false

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.screen_teach)
        actionBar?.setDisplayHomeAsUpEnabled(true)
        onEdit(R.id.text, presenter::edited)
        onEdit(R.id.steps, presenter::steps)
        onEdit(R.id.name, presenter::named)
        onTap(R.id.choose_text) { pick() }
        onTap(R.id.drop) { presenter.dropDocument() }
        onTap(R.id.begin) { presenter.begin() }
        onTap(R.id.stop) { presenter.stop() }
        onTap(R.id.try_out) {
            presenter.tryOut()
            finish()
        }
        onTap(R.id.keep) { presenter.keep() }
        onTap(R.id.discard) { presenter.discard() }
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
        val address = data?.data
        if (requestCode == PICK && resultCode == RESULT_OK && address != null) presenter.take(DocumentSource(contentResolver, address))
    }

    override fun show(model: TeachModel) {
        isShowing = true
        val notice = model.notice ?: model.obstacle.takeIf { model.phase == TeachPhase.BEFORE }
        set(R.id.notice, notice?.let { sentence(this, it) }.orEmpty())
        shownIf(R.id.notice, notice != null)
        shownIf(R.id.before, model.phase == TeachPhase.BEFORE && model.subject != null)
        shownIf(R.id.during, model.isBusy)
        shownIf(R.id.after, model.phase == TeachPhase.TAUGHT)
        findViewById<View>(R.id.progress).keepScreenOn = model.isBusy
        showBefore(model)
        showProgress(model)
        model.taught?.let { showTaught(it, model) }
        isShowing = false
    }

    private fun showBefore(model: TeachModel) {
        model.subject?.let { set(R.id.subject, subjectLine(this, it)) }
        set(R.id.text, model.text)
        set(R.id.steps, model.steps)
        set(R.id.document, model.document?.let { getString(R.string.teach_document, breakable(it.name), it.text.length) }.orEmpty())
        shownIf(R.id.document, model.document != null)
        shownIf(R.id.drop, model.document != null)
        shownIf(R.id.text_label, model.document == null)
        shownIf(R.id.text, model.document == null)
        val steps = findViewById<EditText>(R.id.steps)
        steps.error = if (model.stepCount == null) getString(R.string.settings_number_wrong, "${STEPS.first}", "${STEPS.last}") else null
        findViewById<View>(R.id.begin).isEnabled = model.canBegin
    }

    private fun showProgress(model: TeachModel) {
        val bar = findViewById<ProgressBar>(R.id.progress)
        bar.isIndeterminate = model.progress == null
        model.progress?.let {
            bar.max = it.steps
            bar.progress = it.step
        }
        set(
            R.id.progress_text,
            when (model.phase) {
                TeachPhase.STOPPING -> getString(R.string.teach_stopping)
                else -> model.progress?.let { progressLine(this, it) } ?: getString(R.string.teach_preparing)
            },
        )
        findViewById<View>(R.id.stop).isEnabled = model.phase != TeachPhase.STOPPING
    }

    private fun showTaught(taught: Taught, model: TeachModel) {
        set(R.id.result, taught.lesson?.let { lessonLine(this, it) } ?: getString(R.string.teach_earlier))
        set(R.id.name, model.name)
        findViewById<View>(R.id.keep).isEnabled = model.canKeep
    }

    private fun pick() = startActivityForResult(Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("*/*"), PICK)

    /** What is set again moves the cursor, or is spoken again. */
    private fun set(id: Int, text: String) {
        val view = findViewById<TextView>(id)
        if (view.text.toString() != text) view.text = text
    }

    private fun shownIf(id: Int, isShown: Boolean) {
        findViewById<View>(id).visibility = if (isShown) View.VISIBLE else View.GONE
    }

    private fun onTap(id: Int, action: () -> Unit) = findViewById<Button>(id).setOnClickListener { action() }

    private fun onEdit(id: Int, action: (String) -> Unit) = findViewById<EditText>(id).addTextChangedListener(
        object : TextWatcher {
            override fun beforeTextChanged(text: CharSequence?, start: Int, count: Int, after: Int) = Unit

            override fun onTextChanged(text: CharSequence?, start: Int, before: Int, count: Int) = Unit

            override fun afterTextChanged(text: Editable?) {
                if (!isShowing) action(text.toString())
            }
        },
    )

    private companion object {
        const val PICK = 1
    }
}

/** What is taught, and what it takes. */
private fun subjectLine(context: Context, subject: Subject): String {
    fun size(bytes: Long) = Formatter.formatShortFileSize(context, bytes)
    val memory = subject.memory
    return listOfNotNull(
        context.getString(R.string.teach_subject, breakable(subject.bundle), subject.rank),
        context.getString(R.string.teach_memory, size(memory.total), size(memory.mapped)),
        context.getString(R.string.teach_memory_parts, size(memory.weights), size(memory.activations), size(memory.state)),
        subject.freeBytes?.let { context.getString(if (it < memory.total) R.string.teach_memory_short else R.string.teach_memory_free, size(it)) },
    ).joinToString(" ")
}

private fun progressLine(context: Context, progress: TrainingProgress): String {
    val minutes = Math.round(progress.secondsLeft / SECONDS_PER_MINUTE).toInt()
    val left = if (minutes < 1) context.getString(R.string.teach_left_short) else context.getString(R.string.teach_left, minutes)
    return context.getString(R.string.teach_progress, progress.step, progress.steps, progress.loss, left)
}

private fun lessonLine(context: Context, lesson: Lesson): String {
    val why = when {
        lesson.isMemoryShort -> R.string.teach_end_memory
        lesson.end == TrainingEnd.DIVERGED -> R.string.teach_end_diverged
        lesson.end == TrainingEnd.STOPPED -> R.string.teach_end_stopped
        else -> null
    }
    val before = lesson.before
    val after = lesson.after
    return listOfNotNull(
        context.getString(R.string.teach_result, lesson.steps, lesson.ofSteps),
        why?.let(context::getString),
        lesson.loss?.let { context.getString(R.string.teach_loss, it) },
        if (before != null && after != null) context.getString(R.string.teach_perplexity, number(before), number(after)) else null,
    ).joinToString(" ")
}

/** A perplexity: of a text that the model does not expect it can be any number. */
private fun number(value: Double) = String.format(Locale.getDefault(), if (value < MOST_WITH_FRACTION) "%.1f" else "%.0f", value)

private const val SECONDS_PER_MINUTE = 60
private const val MOST_WITH_FRACTION = 100
