package dev.taskbundler.verify

import android.content.Context
import android.content.ContextWrapper
import dev.taskbundler.app.engine.AndroidEngines
import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.BackgroundThread
import dev.taskbundler.core.engine.Completion
import dev.taskbundler.core.engine.EngineController
import dev.taskbundler.core.engine.EngineFailure
import dev.taskbundler.core.engine.EngineKind
import dev.taskbundler.core.engine.EngineObserver
import dev.taskbundler.core.engine.EngineOptions
import dev.taskbundler.core.engine.GenerationRequest
import dev.taskbundler.core.engine.LoadMarker
import dev.taskbundler.core.engine.Patience
import dev.taskbundler.core.engine.Refusal
import dev.taskbundler.core.engine.Sampling
import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.fakes.Script
import java.io.File
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit

/** The app's engine files and controller, on real threads, over the fakes. [close] ends what a test has begun. */
class Driven(val kind: EngineKind, folder: File, patience: Patience = Patience()) : AutoCloseable {
    private val thread = BackgroundThread("engine")
    private val events = LinkedBlockingQueue<Any>()
    private val cache = object : ContextWrapper(null) {
        override fun getCacheDir() = folder
    }

    /** Where listeners were called: the engine's own threads must not reach an observer. */
    val observerThreads = java.util.concurrent.ConcurrentHashMap.newKeySet<String>()

    /** All text that was shown, in order. */
    @Volatile
    var text = ""

    val controller: EngineController

    init {
        controller = EngineController(AndroidEngines(cache), thread, Observer(), LoadMarker(File(folder, "marker")), patience)
    }

    fun options(name: String = "a.task", backend: Backend = Backend.CPU, ranks: List<Int> = emptyList()) =
        EngineOptions(kind, "/models/$name", 128, backend, ranks)

    /** Of a `.litertlm`; [rank] is that of the adapters it takes, which it does beside one of zeros, null if it takes none. */
    fun litertLm(rank: Int? = 16, name: String = "a.litertlm") =
        options(name, ranks = listOfNotNull(rank)).copy(zeroAdapterPath = rank?.let { "/models/zero.tflite" })

    fun request(text: String = "The capital of France is", adapter: String? = null) =
        GenerationRequest(text, Sampling(topK = 7, topP = 0.5, temperature = 0.25, seed = 3), 64, 60, adapter)

    fun open(options: EngineOptions = options()): Driven {
        controller.open(options)
        await(CompletionState.READY)
        return this
    }

    /** The next event of this type; those before it are dropped. Fails after five seconds: that is a deadlock. */
    inline fun <reified T> next(): T {
        while (true) {
            val event = poll()
            if (event is T) return event
        }
    }

    fun await(state: CompletionState) {
        while (next<CompletionState>() != state) Unit
    }

    fun poll(): Any = events.poll(5, TimeUnit.SECONDS) ?: throw AssertionError("nothing happens any more; text so far: $text; ${Script.calls}")

    override fun close() {
        Script.gate = null
        Script.release.release(100)
        thread.shutdown()
    }

    private inner class Observer : EngineObserver {
        private fun note(event: Any) {
            observerThreads += Thread.currentThread().name
            events.put(event)
        }

        override fun onState(state: CompletionState) = note(state)

        override fun onText(id: Long, text: String) {
            this@Driven.text += text
            note(text)
        }

        override fun onFinished(id: Long, completion: Completion) = note(completion)

        override fun onRefused(id: Long?, refusal: Refusal) = note(refusal)

        override fun onFailed(id: Long?, failure: EngineFailure) = note(failure)

        override fun onLog(line: String) = note("log $line")
    }
}
