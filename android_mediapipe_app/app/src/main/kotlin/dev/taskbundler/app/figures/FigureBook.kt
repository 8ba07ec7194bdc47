package dev.taskbundler.app.figures

import dev.taskbundler.app.state.EventHub
import dev.taskbundler.core.engine.Completion
import dev.taskbundler.core.engine.EngineObserver
import dev.taskbundler.core.engine.SerialThread
import dev.taskbundler.core.figures.Figure
import dev.taskbundler.core.figures.ProcessMemory
import dev.taskbundler.core.figures.Work
import dev.taskbundler.core.figures.with
import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.core.writing.GenerationStats
import java.util.concurrent.Executor

/** The screen of a [FigureBook]; [now] is null until it was measured. */
fun interface FiguresScreen {
    fun show(now: ProcessMemory?, figures: List<Figure>)
}

/**
 * Notes what each kind of work took the last time it was done: time, and memory at its end. For the screen's
 * thread, but for [teaching].
 *
 * [measure] takes a while, as it reads what the system says of every mapping, and is called on [thread].
 */
class FigureBook(
    private val events: EventHub,
    private val screenThread: Executor,
    private val thread: SerialThread,
    private val measure: () -> ProcessMemory,
    private val nanos: () -> Long = System::nanoTime,
) : EngineObserver {
    private var screen: FiguresScreen? = null
    private var figures = emptyList<Figure>()

    /** The names of the bundle and the adapter that the engine was told to work with last. */
    private var subject = Pair("", null as String?)

    /** The engine's state, and since when it is in it. */
    private var last = CompletionState.IDLE to 0L

    init {
        // Before all others, which may begin the next work when they hear that one has ended.
        events.listeners += this
    }

    fun attach(screen: FiguresScreen) {
        this.screen = screen
        screen.show(null, figures)
        thread.post {
            val now = measure()
            screenThread.execute { this.screen?.show(now, figures) }
        }
    }

    fun detach(screen: FiguresScreen) {
        if (this.screen === screen) this.screen = null
    }

    /** What is done from now on is done with [bundle] and [adapter]. */
    fun turnTo(bundle: String, adapter: String?) {
        subject = bundle to adapter
    }

    /** Do [work], which teaches [bundle], on the thread that calls; what it takes is measured while the trainer is still open. */
    fun <T> teaching(bundle: String, work: () -> T): T {
        val begun = nanos()
        return work().also { note(Figure(Work.TEACH, bundle, null, (nanos() - begun) / NANOS_PER_MILLI, measure())) }
    }

    override fun onState(state: CompletionState) {
        val (before, since) = last
        val millis = (events.since - since) / NANOS_PER_MILLI
        if (before == CompletionState.MERGING && state == CompletionState.LOADING) add(Work.MERGE, millis)
        if (before == CompletionState.LOADING && state == CompletionState.READY) add(Work.OPEN, millis)
        last = state to events.since
    }

    override fun onFinished(id: Long, completion: Completion) = add(Work.WRITE, completion.stats.totalMillis, completion.stats)

    private fun add(work: Work, millis: Long, stats: GenerationStats? = null) {
        val (bundle, adapter) = subject
        thread.post { note(Figure(work, bundle, adapter, millis, measure(), stats)) }
    }

    private fun note(figure: Figure) = screenThread.execute {
        figures = figures.with(figure)
        screen?.show(figure.memory, figures)
    }

    private companion object {
        const val NANOS_PER_MILLI = 1_000_000L
    }
}
