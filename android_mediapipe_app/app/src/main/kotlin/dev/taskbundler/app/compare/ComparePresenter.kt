package dev.taskbundler.app.compare

import dev.taskbundler.app.state.AppContainer
import dev.taskbundler.app.state.Choice
import dev.taskbundler.app.state.Contents
import dev.taskbundler.app.state.Notice
import dev.taskbundler.app.state.requestFor
import dev.taskbundler.core.engine.Completion
import dev.taskbundler.core.engine.EndReason
import dev.taskbundler.core.engine.EngineFailure
import dev.taskbundler.core.engine.EngineObserver
import dev.taskbundler.core.engine.Refusal
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.core.writing.GenerationStats

/** One of the two texts. */
data class Side(val name: String, val text: String = "", val stats: GenerationStats? = null)

/** Everything that the comparing screen shows; [running] is the side being written, 0 or 1, or null. */
data class CompareModel(val base: Side = Side(""), val adapted: Side = Side(""), val running: Int? = null, val notice: Notice? = null)

/** The screen of a [ComparePresenter]. */
fun interface CompareScreen {
    fun show(model: CompareModel)
}

/**
 * Writes the same text's continuation twice, with the base and with an adapter, the same seed for both.
 *
 * One after the other: a phone has memory for one engine. For the screen's thread.
 */
class ComparePresenter(private val container: AppContainer) : EngineObserver {
    private var screen: CompareScreen? = null

    /** What is shown. */
    var model = CompareModel()
        private set
    private var choice: Choice? = null
    private var contents = Contents()
    private var text = ""
    private var generation: Long? = null

    fun attach(screen: CompareScreen) {
        this.screen = screen
        if (this !in container.events.listeners) container.events.listeners += this
        screen.show(model)
    }

    fun detach(screen: CompareScreen) {
        if (this.screen === screen) this.screen = null
    }

    /** The screen is gone for good: stop, and let others use the engine. */
    fun end() {
        stop()
        container.events.listeners -= this
    }

    /** Compare on [text] what [choice], which has an adapter, and its base write. */
    fun compare(text: String, choice: Choice, contents: Contents) {
        if (model.running != null) return
        this.text = text
        this.choice = choice
        this.contents = contents
        show(CompareModel(Side(choice.bundle.name), Side(choice.adapter?.name.orEmpty()), running = 0))
        begin(choice.copy(adapter = null))
    }

    fun stop() {
        if (model.running == null) return
        container.switch.cancelMerge()
        container.controller.stop()
        finish(Notice.Cancelled)
    }

    override fun onState(state: CompletionState) {
        if (model.running != null) show(model.copy(notice = Notice.State(state)))
    }

    override fun onText(id: Long, text: String) {
        if (id == generation) update { it.copy(text = it.text + text) }
    }

    override fun onFinished(id: Long, completion: Completion) {
        if (id != generation) return
        update { it.copy(stats = completion.stats) }
        val choice = choice
        when {
            completion.reason == EndReason.STOPPED || choice == null -> finish(Notice.Cancelled)

            model.running == 0 -> {
                show(model.copy(running = 1))
                begin(choice)
            }

            else -> finish(null)
        }
    }

    override fun onRefused(id: Long?, refusal: Refusal) {
        if (model.running != null && (id == null || id == generation)) finish(Notice.Refused(refusal))
    }

    override fun onFailed(id: Long?, failure: EngineFailure) {
        if (model.running == null || (id != null && id != generation)) return
        val finding = (failure.cause as? FindingException)?.finding
        finish(finding?.let { Notice.Found(it) } ?: Notice.Failed(failure))
    }

    private fun begin(choice: Choice) {
        val settings = container.settings.read()
        generation = container.switch.generate(choice, settings, contents, requestFor(choice, settings, text, attempt = 0)) { percent ->
            if (model.running != null) show(model.copy(notice = Notice.Merging(choice.adapter?.name.orEmpty(), percent)))
        }
    }

    private fun update(change: (Side) -> Side) =
        show(if (model.running == 0) model.copy(base = change(model.base)) else model.copy(adapted = change(model.adapted)))

    private fun finish(notice: Notice?) {
        generation = null
        show(model.copy(running = null, notice = notice))
    }

    private fun show(next: CompareModel) {
        model = next
        screen?.show(next)
    }
}
