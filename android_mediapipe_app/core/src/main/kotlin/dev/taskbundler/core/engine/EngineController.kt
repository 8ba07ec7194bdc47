package dev.taskbundler.core.engine

import dev.taskbundler.core.writing.CompletionEvent
import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.core.writing.Transition
import dev.taskbundler.core.writing.firstListed
import dev.taskbundler.core.writing.transition
import java.util.concurrent.CancellationException
import java.util.concurrent.atomic.AtomicLong

/**
 * Opens, asks, stops and closes engines without breaking their rules.
 *
 * Functions may be called from any thread and return at once; all work is done on [thread], where [observer] is told of it.
 * The rules: one engine at a time, the old one closed before the next is opened; a session that answers is neither closed
 * nor asked, only cancelled, and what was wished meanwhile waits for its end; a full context is an end, and closes nothing; a text that was
 * longer than estimated is shortened and asked again; adapter ranks never on the CPU; an engine that never ends is left alone for good; a
 * model with inputs for adapters is always given one, of zeros for its base; an engine that keeps every session's adapter is opened again
 * after [SESSIONS_AN_ENGINE] of them; while its memory is held for something else, none is opened.
 * Around each step that has been seen to kill the process, [marker] is set.
 */
class EngineController(
    private val opener: EngineOpener,
    private val thread: SerialThread,
    private val observer: EngineObserver,
    private val marker: LoadMarker,
    private val patience: Patience = Patience(),
    private val nanos: () -> Long = System::nanoTime,
) {
    private val ids = AtomicLong()

    // All that follows is touched on [thread] only.
    private var state = CompletionState.IDLE
    private var options: EngineOptions? = null
    private var engine: TextEngine? = null
    private var idleSession: TextSession? = null
    private var answer: RunningAnswer? = null
    private var stuck: RunningAnswer? = null

    /** What waits for the end of the running answer, in this order. */
    private val waiting = ArrayDeque<Waiting>()
    private var hasWritten = false
    private var adaptersKept = 0
    private var isHeld = false

    /** Do [task] before what is wished from now on. */
    fun before(task: () -> Unit) = thread.post(task)

    /** Open a bundle; a running answer is stopped and an open engine closed first. One that is open already stays. */
    fun open(options: EngineOptions) = whenFree {
        if (engine == null || this.options != options || state != CompletionState.READY) openNow(options) else observer.onState(state)
    }

    /**
     * Ask for a continuation; returns the number that its events will bear.
     *
     * While an answer is written this is refused, unless that answer has been asked to end: then it waits for the end.
     */
    fun generate(request: GenerationRequest): Long {
        val id = ids.incrementAndGet()
        thread.post {
            if (state == CompletionState.STOPPING) waiting += Waiting(id) { generateNow(id, request) } else generateNow(id, request)
        }
        return id
    }

    /** Stop the running answer, if there is one; what was written stays. Texts that wait for its end are not begun. */
    fun stop() = thread.post {
        drop { it.id != null }
        stopNow(EndReason.STOPPED)
    }

    /**
     * Close the engine, do [job] (which merges an adapter into a copy), and open what it returns.
     *
     * A CancellationException from [job] leads to IDLE, any other exception to FAILED.
     */
    fun merge(job: () -> EngineOptions) = whenFree { mergeNow(job) }

    fun close() = whenFree {
        closeEngine()
        move(CompletionEvent.CLOSE)
    }

    /** Close the engine and open none until [release]; then do [task], which needs the memory. */
    fun hold(task: () -> Unit) = whenFree(stays = true) {
        isHeld = true
        closeEngine()
        move(CompletionEvent.CLOSE)
        task()
    }

    /** End what [hold] has begun. */
    fun release() = thread.post { isHeld = false }

    /** [stays]: another wish does not take its place. */
    private fun whenFree(stays: Boolean = false, action: () -> Unit) = thread.post {
        if (answer == null) {
            if (stuck != null) {
                refuse(null, RefusalReason.ENGINE_STUCK, "The engine has not ended its answer. Close the app and open it again.")
            } else {
                action()
            }
        } else {
            // What was wished before this was for another engine.
            drop()
            waiting += Waiting(null, stays, action)
            stopNow(EndReason.STOPPED)
        }
    }

    /** A wish, and the number of the generation that it is. */
    private class Waiting(val id: Long?, val stays: Boolean = false, val action: () -> Unit)

    private fun drop(which: (Waiting) -> Boolean = { !it.stays }) {
        val dropped = waiting.filter(which)
        waiting.removeAll(dropped)
        for (id in dropped.mapNotNull { it.id }) refuse(id, RefusalReason.BUSY, "Another bundle or adapter was wished before this could begin.")
    }

    private fun goOn() {
        while (answer == null) (waiting.removeFirstOrNull() ?: return).action()
    }

    private fun openNow(options: EngineOptions) {
        if (isHeld) return refuseHeld(null)
        refusal(options)?.let { return observer.onRefused(null, it) }
        closeEngine()
        move(CompletionEvent.LOAD)
        load(options)
    }

    /** [id] is the generation that waits for it, if one does. */
    private fun load(options: EngineOptions, id: Long? = null) {
        marker.begin(options, "open")
        try {
            engine = opener.open(options)
        } catch (cause: Throwable) {
            return fail(failureOf(cause, "Opening ${options.modelPath}"), id)
        } finally {
            marker.end()
        }
        this.options = options
        hasWritten = false
        adaptersKept = 0
        move(CompletionEvent.LOADED)
    }

    private fun mergeNow(job: () -> EngineOptions) {
        if (isHeld) return refuseHeld(null)
        closeEngine()
        move(CompletionEvent.MERGE)
        val merged = try {
            job()
        } catch (_: CancellationException) {
            return move(CompletionEvent.CANCELLED)
        } catch (cause: Throwable) {
            return fail(failureOf(cause, "Merging"))
        }
        refusal(merged)?.let { return fail(EngineFailure(FailureKind.UNKNOWN, "Merging", it.message)) }
        move(CompletionEvent.MERGED)
        load(merged)
    }

    private fun generateNow(id: Long, request: GenerationRequest) {
        val options = this.options
        if (isHeld) return refuseHeld(id)
        if (answer != null) {
            return refuse(id, RefusalReason.BUSY, "An answer is still being written. Stop it first.")
        }
        if (options == null || engine == null || state != CompletionState.READY) {
            return refuse(id, RefusalReason.NO_MODEL, "No bundle is open. Choose one first.")
        }
        refusal(options, request.sampling, request.adapterPath)?.let { return observer.onRefused(id, it) }
        if (adaptersKept >= SESSIONS_AN_ENGINE) reopen(options, id)
        // Null where it could not be opened again, which was told.
        val engine = this.engine ?: return
        val started = try {
            newSession(engine, request.sampling, request.adapterPath ?: options.zeroAdapterPath)
        } catch (cause: Throwable) {
            return fail(failureOf(cause, "Beginning a session"), id)
        }
        val answer = RunningAnswer(id, request, started, options, engine.stripsLeadingSpace, nanos)
        firstListed(answer.window.prompt, request.words)?.let {
            return refuse(id, RefusalReason.LISTED_WORD, "The text has “$it”, which is on the word list. Change the text or the list.", it)
        }
        if (answer.window.prompt.isBlank()) {
            return refuse(
                id,
                RefusalReason.NOTHING_TO_CONTINUE,
                "There is no text to continue. Write a few words first.",
            )
        }
        start(answer)
    }

    private fun newSession(engine: TextEngine, sampling: Sampling, adapterPath: String?): TextSession {
        closeIdleSession()
        if (engine.keepsAdapters && adapterPath != null) adaptersKept++
        return engine.newSession(sampling, adapterPath).also { idleSession = it }
    }

    private fun reopen(options: EngineOptions, id: Long) {
        closeEngine()
        move(CompletionEvent.LOAD)
        load(options, id)
    }

    private fun start(answer: RunningAnswer) {
        this.answer = answer
        idleSession = null
        move(CompletionEvent.GENERATE)
        // The first answer compiles kernels and fills the cache: it has killed apps that had opened well.
        if (!hasWritten) marker.begin(answer.options, "first answer")
        watch(answer)
        try {
            answer.session.generate(answer.window.prompt, ToThread(answer))
        } catch (cause: Throwable) {
            onError(answer, cause)
        }
    }

    private inner class ToThread(private val answer: RunningAnswer) : PieceListener {
        override fun onPiece(text: String) = thread.post { this@EngineController.onPiece(answer, text) }

        override fun onDone() = thread.post { this@EngineController.onDone(answer) }

        override fun onError(cause: Throwable) = thread.post { this@EngineController.onError(answer, cause) }
    }

    private fun onPiece(answer: RunningAnswer, text: String) {
        if (this.answer !== answer) return
        survived()
        show(answer, answer.push(text))
        if (answer.isLongEnough()) stopNow(EndReason.LIMIT)
    }

    private fun onDone(answer: RunningAnswer) {
        if (stuck === answer) return releaseStuck()
        if (this.answer !== answer) return
        survived()
        finish(answer)
    }

    private fun finish(answer: RunningAnswer) {
        show(answer, answer.finish())
        val completion = answer.completion()
        retire(answer)
        move(CompletionEvent.FINISHED)
        observer.onFinished(answer.id, completion)
        goOn()
    }

    private fun onError(answer: RunningAnswer, cause: Throwable) {
        if (stuck === answer) return releaseStuck()
        if (this.answer !== answer) return
        survived()
        val failure = failureOf(cause, "Writing")
        if (failure.kind == FailureKind.CONTEXT_FULL) {
            answer.shorter()?.let { return tryAgain(answer, it) }
            answer.reason = EndReason.FULL
            return finish(answer)
        }
        show(answer, answer.finish())
        retire(answer)
        fail(failure, answer.id)
        goOn()
    }

    private fun tryAgain(answer: RunningAnswer, request: GenerationRequest) {
        observer.onLog("The text was longer than estimated; ${request.windowTokens} tokens of it are tried.")
        retire(answer)
        move(CompletionEvent.FINISHED)
        generateNow(answer.id, request)
        goOn()
    }

    private fun stopNow(reason: EndReason) {
        val answer = this.answer ?: return
        if (state != CompletionState.GENERATING) return
        answer.reason = reason
        answer.stopAsked = nanos()
        move(CompletionEvent.STOP)
        cancel(answer)
    }

    private fun cancel(answer: RunningAnswer) = try {
        answer.session.cancel()
    } catch (cause: Throwable) {
        // It may still end by itself; if not, the watchdog sees to it.
        observer.onLog("Asking the engine to stop failed: $cause")
    }

    private fun watch(answer: RunningAnswer) {
        answer.watchdog = thread.postDelayed(patience.step) {
            if (this.answer !== answer) return@postDelayed
            when {
                state == CompletionState.GENERATING && answer.isSilent(patience) -> stopNow(EndReason.SILENT)

                state == CompletionState.STOPPING && answer.millisSinceStop() > patience.stop -> return@postDelayed giveUp(answer)

                // LiteRT-LM forgets it if it was asked between reading the text and writing.
                state == CompletionState.STOPPING -> cancel(answer)
            }
            watch(answer)
        }
    }

    /** Closing an engine in the middle of an answer throws or crashes: nothing of it is touched again. */
    private fun giveUp(answer: RunningAnswer) {
        stuck = answer
        this.answer = null
        drop { true }
        survived()
        show(answer, answer.finish())
        move(CompletionEvent.FAIL)
        val message = "The engine did not end its answer ${patience.stop} ms after it was asked to."
        observer.onFailed(answer.id, EngineFailure(FailureKind.NOT_ANSWERING, "Writing", message))
    }

    private fun releaseStuck() {
        idleSession = stuck?.session
        stuck = null
        observer.onLog("The engine ended its answer after all, and is closed.")
        closeEngine()
    }

    private fun retire(answer: RunningAnswer) {
        answer.watchdog()
        // Closed before the next session or with the engine, not here: the engine's thread may still be in the call that said «done».
        idleSession = answer.session
        this.answer = null
    }

    private fun survived() {
        if (hasWritten) return
        hasWritten = true
        marker.end()
    }

    private fun show(answer: RunningAnswer, text: String) {
        if (text.isNotEmpty()) observer.onText(answer.id, text)
    }

    private fun fail(failure: EngineFailure, id: Long? = null) {
        closeEngine()
        move(CompletionEvent.FAIL)
        observer.onFailed(id, failure)
    }

    private fun closeIdleSession() {
        val session = idleSession
        idleSession = null
        session?.close()
    }

    private fun closeEngine() {
        val old = engine
        engine = null
        options = null
        for (step in listOf({ closeIdleSession() }, { old?.close() })) {
            try {
                step()
            } catch (cause: Throwable) {
                observer.onLog("Closing the engine failed: $cause")
            }
        }
    }

    private fun refuseHeld(id: Long?) =
        refuse(id, RefusalReason.TEACHING, "An adapter is being taught, which needs the memory. Wait for its end, or stop it.")

    private fun refuse(id: Long?, reason: RefusalReason, message: String, detail: String = "") =
        observer.onRefused(id, Refusal(reason, detail, message))

    private fun move(event: CompletionEvent) {
        when (val to = transition(state, event)) {
            is Transition.To -> {
                state = to.state
                observer.onState(state)
            }

            is Transition.Refused -> observer.onLog("$event has no place in ${to.state}")
        }
    }
}
