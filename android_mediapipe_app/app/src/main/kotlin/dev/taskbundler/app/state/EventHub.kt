package dev.taskbundler.app.state

import dev.taskbundler.core.engine.Completion
import dev.taskbundler.core.engine.EngineFailure
import dev.taskbundler.core.engine.EngineObserver
import dev.taskbundler.core.engine.Refusal
import dev.taskbundler.core.writing.CompletionState
import java.util.concurrent.Executor

/** Brings the engine's events to the screen's thread and to everyone in [listeners], which is touched on that thread only. */
class EventHub(private val screen: Executor, private val nanos: () -> Long = System::nanoTime) : EngineObserver {
    val listeners = ArrayList<EngineObserver>()

    /** The last state told. */
    var state = CompletionState.IDLE
        private set

    /** When the engine came into it, in nanoseconds; however long the screen's thread was busy then. */
    var since = 0L
        private set

    override fun onState(state: CompletionState) {
        val now = nanos()
        screen.execute {
            this.state = state
            since = now
        }
        tell { it.onState(state) }
    }

    override fun onText(id: Long, text: String) = tell { it.onText(id, text) }

    override fun onFinished(id: Long, completion: Completion) = tell { it.onFinished(id, completion) }

    override fun onRefused(id: Long?, refusal: Refusal) = tell { it.onRefused(id, refusal) }

    override fun onFailed(id: Long?, failure: EngineFailure) = tell { it.onFailed(id, failure) }

    override fun onLog(line: String) = tell { it.onLog(line) }

    private fun tell(what: (EngineObserver) -> Unit) = screen.execute { listeners.toList().forEach(what) }
}
