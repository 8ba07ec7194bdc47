package com.google.ai.edge.litertlm

import dev.taskbundler.fakes.Script
import java.io.File
import java.util.concurrent.CancellationException
import java.util.concurrent.atomic.AtomicBoolean
import kotlin.concurrent.thread

// A fake of LiteRT-LM: the rules of its Kotlin API, 0.16.1, and no model.

class Engine(val engineConfig: EngineConfig) : AutoCloseable {
    internal val isBusy = AtomicBoolean()
    internal var session: Session? = null
    private var isReady = false
    private var adaptersKept = 0

    fun isInitialized() = isReady

    fun initialize() {
        Script.calls += "open ${File(engineConfig.modelPath).name} ${engineConfig.backend.name} ${engineConfig.maxNumTokens}"
        if (Script.open.get() > 0) Script.violated("a second engine while one is open")
        Script.failIf(Script.openFailure)
        Script.open.incrementAndGet()
        isReady = true
    }

    fun createSession(sessionConfig: SessionConfig = SessionConfig()): Session {
        check(isReady) { "Engine is not initialized." }
        if (session?.isAlive == true) Script.violated("FAILED_PRECONDITION: a session already exists")
        checkAdapter(sessionConfig.loraConfig?.loraPath)
        Script.calls += "session $sessionConfig"
        Script.failIf(Script.sessionFailure)
        return Session(this).also { session = it }
    }

    /** The real one says nothing: it ignores the adapter, or computes with undefined memory. */
    private fun checkAdapter(path: String?) {
        val takesAdapters = engineConfig.modelPath.endsWith(".litertlm") && !Script.withoutLora
        if (takesAdapters && path == null) Script.violated("a session without an adapter on a model with inputs for one")
        if (!takesAdapters && path != null) Script.violated("an adapter for a model that has no inputs for it")
        // It keeps each until it is closed, also the same one again.
        if (path != null && ++adaptersKept > 16) Script.violated("a file and a copy in memory for each of $adaptersKept sessions' adapters")
    }

    override fun close() {
        check(isReady) { "Engine is not initialized." }
        if (isBusy.get()) Script.violated("the engine was closed while it answers")
        if (session?.isAlive == true) Script.violated("the engine was closed before its session")
        isReady = false
        Script.open.decrementAndGet()
        Script.calls += "close"
    }
}

class Session internal constructor(private val engine: Engine) : AutoCloseable {
    private val alive = AtomicBoolean(true)

    @Volatile
    private var isCancelled = false

    val isAlive get() = alive.get()

    override fun close() {
        if (engine.isBusy.get()) Script.violated("a session was closed while it answers")
        check(alive.compareAndSet(true, false)) { "Session is closed already." }
    }

    fun generateContentStream(inputData: List<InputData>, responseCallback: ResponseCallback) {
        check(isAlive) { "Session is not alive." }
        if (!engine.isBusy.compareAndSet(false, true)) Script.violated("a second answer while one is written")
        Script.calls += "prompt ${inputData.joinToString("") { (it as InputData.Text).text }}"
        try {
            Script.failIf(Script.generateFailure)
        } catch (failure: Throwable) {
            engine.isBusy.set(false)
            throw failure
        }
        thread(isDaemon = true, name = "native") { answer(responseCallback) }
    }

    fun cancelProcess() {
        check(isAlive) { "Session is not alive." }
        Script.calls += "cancel"
        isCancelled = true
    }

    private fun answer(callback: ResponseCallback) {
        for (piece in Script.pieces) {
            Script.gate?.acquire()
            if (isCancelled) break
            callback.onNext(piece)
            val failure = Script.asyncFailure ?: continue
            engine.isBusy.set(false)
            return callback.onError(failure)
        }
        if (Script.hangs) Script.release.acquire()
        engine.isBusy.set(false)
        if (isCancelled) callback.onError(CancellationException("Process cancelled.")) else callback.onDone()
    }
}
