package dev.taskbundler.core.engine

import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.core.writing.CompletionState.FAILED
import dev.taskbundler.core.writing.CompletionState.GENERATING
import dev.taskbundler.core.writing.CompletionState.IDLE
import dev.taskbundler.core.writing.CompletionState.LOADING
import dev.taskbundler.core.writing.CompletionState.MERGING
import dev.taskbundler.core.writing.CompletionState.READY
import dev.taskbundler.core.writing.CompletionState.STOPPING
import dev.taskbundler.core.writing.WordList
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.util.concurrent.CancellationException

class EngineControllerTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val thread = ManualThread()
    private val opener = StrictOpener()
    private val seen = Seen()
    private val markerFile by lazy { folder.root.resolve("marker") }
    private val controller by lazy { EngineController(opener, thread, seen, LoadMarker(markerFile), Patience(1000, 500, 300, 100), thread::nanos) }

    private class Seen : EngineObserver {
        val states = ArrayList<CompletionState>()
        val text = HashMap<Long, String>()
        val finished = ArrayList<Completion>()
        val refused = ArrayList<Pair<Long?, RefusalReason>>()
        val failed = ArrayList<Pair<Long?, FailureKind>>()
        val log = ArrayList<String>()

        override fun onState(state: CompletionState) {
            states += state
        }

        override fun onText(id: Long, text: String) {
            this.text[id] = this.text[id].orEmpty() + text
        }

        override fun onFinished(id: Long, completion: Completion) {
            finished += completion
        }

        override fun onRefused(id: Long?, refusal: Refusal) {
            refused += id to refusal.reason
        }

        override fun onFailed(id: Long?, failure: EngineFailure) {
            failed += id to failure.kind
        }

        override fun onLog(line: String) {
            log += line
        }
    }

    private fun options(path: String = "a.task", ranks: List<Int> = emptyList(), backend: Backend = Backend.CPU) =
        EngineOptions(EngineKind.MEDIAPIPE, path, 64, backend, ranks)

    private fun request(text: String = "The capital of France is", adapter: String? = null, output: Int = 50, words: String = "") =
        GenerationRequest(text, Sampling(), 32, output, adapter, WordList.parse(words))

    private fun ready(): StrictEngine {
        controller.open(options())
        thread.run()
        return opener.opened.last()
    }

    private fun generating(request: GenerationRequest = request()): Long {
        ready()
        return controller.generate(request).also { thread.run() }
    }

    @Test
    fun `a text is continued piece by piece`() {
        val id = generating()
        assertEquals("The capital of France is", opener.session.prompt)
        opener.session.write("Paris", ", of", " course")
        thread.run()
        assertEquals(" Paris, of course", seen.text[id])
        opener.session.done()
        thread.run()
        val completion = seen.finished.single()
        assertEquals(" Paris, of course", completion.text)
        assertEquals(EndReason.DONE, completion.reason)
        assertEquals(5 + 3, completion.stats.usedTokens)
        assertEquals(listOf(LOADING, READY, GENERATING, READY), seen.states)
    }

    @Test
    fun `what the stages held back comes before the end`() {
        val id = generating(request(words = "darn"))
        opener.session.write("da", "rn")
        thread.run()
        assertNull(seen.text[id])
        opener.session.done()
        thread.run()
        assertEquals(" •••", seen.text[id])
        assertEquals(" •••", seen.finished.single().text)
    }

    @Test
    fun `each answer has a session of its own, the last one closed before`() {
        generating()
        opener.session.done()
        thread.run()
        assertFalse(opener.session.isClosed)
        controller.generate(request(adapter = null))
        thread.run()
        assertEquals(2, opener.opened.single().sessions.size)
        assertTrue(opener.opened.single().sessions.first().isClosed)
    }

    @Test
    fun `stop keeps what was written, and ends when the engine says so`() {
        val id = generating()
        opener.session.write("Paris and")
        controller.stop()
        thread.run()
        assertTrue(opener.session.isCancelled)
        assertEquals(STOPPING, seen.states.last())
        opener.session.write(" more")
        opener.session.done()
        thread.run()
        assertEquals(" Paris and more", seen.text[id])
        assertEquals(EndReason.STOPPED, seen.finished.single().reason)
        assertEquals(READY, seen.states.last())
    }

    @Test
    fun `stop without an answer does nothing`() {
        ready()
        controller.stop()
        thread.run()
        assertEquals(READY, seen.states.last())
    }

    @Test
    fun `an answer that is long enough is stopped`() {
        generating(request(output = 3))
        opener.session.write("a ", "b ", "c ")
        thread.run()
        assertTrue(opener.session.isCancelled)
        opener.session.done()
        thread.run()
        assertEquals(EndReason.LIMIT, seen.finished.single().reason)
    }

    @Test
    fun `another bundle waits for the end of the answer, and the old engine is closed before it is opened`() {
        generating()
        opener.session.write("Par")
        controller.open(options("b.task"))
        thread.run()
        assertEquals(1, opener.open.size)
        assertTrue(opener.session.isCancelled)
        opener.session.write("is")
        opener.session.done()
        thread.run()
        assertEquals(listOf("open a.task", "session base", "generate", "close", "open b.task"), opener.calls)
        assertEquals(" Paris", seen.finished.single().text)
        assertEquals(READY, seen.states.last())
    }

    @Test
    fun `of several wishes during an answer the last counts`() {
        generating()
        controller.open(options("b.task"))
        controller.close()
        controller.open(options("c.task"))
        controller.stop()
        thread.run()
        opener.session.done()
        thread.run()
        assertEquals("open c.task", opener.calls.last())
        assertFalse("open b.task" in opener.calls)
    }

    @Test
    fun `the same bundle is not opened twice, other options are`() {
        ready()
        controller.open(options())
        thread.run()
        assertEquals(1, opener.opened.size)
        controller.open(options(backend = Backend.GPU))
        thread.run()
        assertEquals(2, opener.opened.size)
    }

    @Test
    fun `while the memory is held no engine is open, and none is opened`() {
        generating()
        var held = 0
        controller.hold { held++ }
        thread.run()
        assertEquals(0, held)
        opener.session.done()
        thread.run()
        assertEquals(1 to 1, held to seen.finished.size)
        assertTrue(opener.opened.single().isClosed)
        controller.open(options("b.task"))
        controller.merge { error("not to be called") }
        val refused = controller.generate(request())
        thread.run()
        assertEquals(listOf(null, null, refused).map { it to RefusalReason.TEACHING }, seen.refused)
        controller.release()
        ready()
        assertEquals(READY, seen.states.last())
        assertEquals(2, opener.opened.size)
    }

    @Test
    fun `closing waits as well`() {
        generating()
        controller.close()
        thread.run()
        assertEquals(1, opener.open.size)
        opener.session.done()
        thread.run()
        assertEquals(0, opener.open.size)
        assertEquals(IDLE, seen.states.last())
    }

    @Test
    fun `a second wish for text is refused while one is written`() {
        generating()
        val second = controller.generate(request())
        thread.run()
        assertEquals(listOf<Pair<Long?, RefusalReason>>(second to RefusalReason.BUSY), seen.refused)
        assertEquals(GENERATING, seen.states.last())
    }

    @Test
    fun `without a bundle there is no text`() {
        val id = controller.generate(request())
        thread.run()
        assertEquals(listOf<Pair<Long?, RefusalReason>>(id to RefusalReason.NO_MODEL), seen.refused)
    }

    @Test
    fun `ranks are never set on the CPU`() {
        controller.open(options(ranks = listOf(16)))
        thread.run()
        assertEquals(RefusalReason.RANKS_ON_CPU, seen.refused.single().second)
        assertTrue(opener.calls.isEmpty())
    }

    @Test
    fun `a refused bundle leaves the open one open`() {
        ready()
        controller.open(options("b.task", ranks = listOf(16)))
        thread.run()
        assertEquals(1, opener.open.size)
        controller.generate(request())
        thread.run()
        assertEquals(GENERATING, seen.states.last())
    }

    @Test
    fun `an adapter file needs an engine opened for it`() {
        ready()
        controller.generate(request(adapter = "x.tflite"))
        thread.run()
        assertEquals(RefusalReason.NO_RANKS_DECLARED, seen.refused.single().second)
        controller.open(options(ranks = listOf(16), backend = Backend.GPU))
        controller.generate(request(adapter = "x.tflite"))
        thread.run()
        assertTrue("session x.tflite" in opener.calls)
    }

    @Test
    fun `an empty text and a listed word are refused, and the next wish works`() {
        ready()
        controller.generate(request("  \n"))
        controller.generate(request("Darn it", words = "darn"))
        thread.run()
        assertEquals(listOf(RefusalReason.NOTHING_TO_CONTINUE, RefusalReason.LISTED_WORD), seen.refused.map { it.second })
        controller.generate(request())
        thread.run()
        assertEquals(GENERATING, seen.states.last())
    }

    @Test
    fun `a listed word outside of the window is not sent and does not matter`() {
        ready()
        controller.generate(request("darn it. " + "word ".repeat(60), words = "darn"))
        thread.run()
        assertEquals(GENERATING, seen.states.last())
        assertFalse("darn" in opener.session.prompt)
    }

    @Test
    fun `an engine that cannot be opened leaves a reason and can be tried again`() {
        opener.failure = IllegalStateException("Unable to open zip archive")
        open()
        assertEquals(listOf<Pair<Long?, FailureKind>>(null to FailureKind.TRUNCATED_FILE), seen.failed)
        assertEquals(FAILED, seen.states.last())
        opener.failure = null
        open()
        assertEquals(READY, seen.states.last())
    }

    private fun open() {
        controller.open(options())
        thread.run()
    }

    @Test
    fun `a session that cannot be made is a failure that closes the engine`() {
        ready().sessionFailure = IllegalStateException("OpenCL: out of resources")
        val id = controller.generate(request())
        thread.run()
        assertEquals(listOf<Pair<Long?, FailureKind>>(id to FailureKind.NO_GPU), seen.failed)
        assertEquals(0, opener.open.size)
    }

    @Test
    fun `a native fault in the middle loses no text`() {
        val id = generating()
        opener.session.write("Paris and")
        opener.session.fault(RuntimeException("INTERNAL: out of memory"))
        thread.run()
        assertEquals(" Paris and", seen.text[id])
        assertEquals(listOf<Pair<Long?, FailureKind>>(id to FailureKind.OUT_OF_MEMORY), seen.failed)
        assertEquals(0, opener.open.size)
        opener.session.write("late")
        opener.session.done()
        thread.run()
        assertEquals(" Paris and", seen.text[id])
        assertTrue(seen.finished.isEmpty())
    }

    @Test
    fun `an engine that throws at once is a failure too`() {
        ready().generateFailure = IllegalStateException("INTERNAL: out of memory")
        val id = controller.generate(request())
        thread.run()
        assertEquals(listOf<Pair<Long?, FailureKind>>(id to FailureKind.OUT_OF_MEMORY), seen.failed)
        assertEquals(0, opener.open.size)
    }

    @Test
    fun `a prompt that is too long is an end, and the engine stays open`() {
        ready().generateFailure = IllegalStateException("OUT_OF_RANGE: Input token ids are too long")
        controller.generate(request())
        thread.run()
        assertEquals(EndReason.FULL to "", seen.finished.single().let { it.reason to it.text })
        assertEquals(READY, seen.states.last())
        assertEquals(1, opener.open.size)
    }

    @Test
    fun `a text that is longer than estimated is shortened until it fits`() {
        opener.counts = false
        val text = "It goes on ".repeat(20).trim()
        val id = generating(request(text))
        val prompts = arrayListOf(opener.session.prompt)
        repeat(2) {
            opener.session.fault(RuntimeException("OUT_OF_RANGE: Input token ids are too long"))
            thread.run()
            prompts += opener.session.prompt
        }
        assertTrue("$prompts", prompts.all(text::endsWith) && prompts.zipWithNext().all { (longer, shorter) -> shorter.length < longer.length })
        opener.session.write("Paris")
        opener.session.done()
        thread.run()
        assertEquals("Paris", seen.text[id]?.trim())
        assertEquals(EndReason.DONE, seen.finished.single().reason)
        assertEquals(1, opener.opened.size)
    }

    @Test
    fun `of a text that never fits, the engine hears but a few times`() {
        opener.counts = false
        ready().generateFailure = IllegalStateException("OUT_OF_RANGE: Input token ids are too long")
        controller.generate(request("It is so. ".repeat(20)))
        thread.run()
        assertEquals(EndReason.FULL, seen.finished.single().reason)
        assertTrue("${opener.calls}", opener.calls.count { it.startsWith("session") } in 2..6)
        assertEquals(READY, seen.states.last())
    }

    @Test
    fun `what was stopped is not tried again with less of the text`() {
        opener.counts = false
        generating(request("It is so. ".repeat(20)))
        controller.stop()
        thread.run()
        opener.session.fault(RuntimeException("OUT_OF_RANGE: Input token ids are too long"))
        thread.run()
        assertEquals(1, seen.finished.size)
        assertEquals(READY, seen.states.last())
        assertEquals(1, opener.calls.count { it == "generate" })
    }

    @Test
    fun `a context that is full in the middle is an end, and the engine goes on`() {
        val id = generating()
        opener.session.write("Paris and")
        opener.session.fault(RuntimeException("INTERNAL: Maximum kv-cache size reached."))
        thread.run()
        assertEquals(" Paris and", seen.text[id])
        assertEquals(EndReason.FULL, seen.finished.single().reason)
        assertTrue(seen.failed.isEmpty())
        controller.generate(request())
        thread.run()
        assertEquals(GENERATING, seen.states.last())
        assertEquals(1, opener.open.size)
    }

    @Test
    fun `what is wished while a bundle waits for the end comes after it`() {
        generating()
        controller.open(options("b.task"))
        val second = controller.generate(request("Another text goes on like"))
        thread.run()
        assertTrue(seen.refused.isEmpty())
        opener.session.done()
        thread.run()
        assertEquals("open b.task", opener.calls.last { it.startsWith("open") })
        assertEquals("Another text goes on like", opener.session.prompt)
        opener.session.write("this one")
        thread.run()
        assertEquals(" this one", seen.text[second])
    }

    @Test
    fun `a text that is stopped before it began gives way to the next`() {
        generating()
        controller.open(options("b.task"))
        val second = controller.generate(request("Another text goes on like"))
        controller.open(options("b.task"))
        val third = controller.generate(request("A third one"))
        thread.run()
        opener.session.done()
        thread.run()
        assertEquals(listOf<Pair<Long?, RefusalReason>>(second to RefusalReason.BUSY), seen.refused)
        assertEquals("A third one", opener.session.prompt)
        opener.session.write("goes on")
        thread.run()
        assertEquals(" goes on", seen.text[third])
    }

    @Test
    fun `a done that never comes is asked for, then given up, and nothing is closed`() {
        val id = generating()
        opener.session.write("Par")
        thread.pass(700)
        assertTrue(opener.session.isCancelled)
        assertEquals(STOPPING, seen.states.last())
        thread.pass(500)
        assertEquals(listOf<Pair<Long?, FailureKind>>(id to FailureKind.NOT_ANSWERING), seen.failed)
        assertEquals(" Par", seen.text[id])
        assertEquals(1, opener.open.size)
        controller.open(options("b.task"))
        thread.run()
        assertEquals(RefusalReason.ENGINE_STUCK, seen.refused.single().second)
        assertEquals(1, opener.opened.size)
    }

    @Test
    fun `a done that comes late frees the engine`() {
        generating()
        thread.pass(3000)
        assertEquals(FAILED, seen.states.last())
        opener.session.done()
        thread.run()
        assertEquals(0, opener.open.size)
        controller.open(options("b.task"))
        thread.run()
        assertEquals(READY, seen.states.last())
    }

    @Test
    fun `an error that comes late frees it as well`() {
        generating()
        thread.pass(3000)
        opener.session.fault(RuntimeException("gone"))
        thread.run()
        assertEquals(0, opener.open.size)
    }

    @Test
    fun `an engine that stops when asked after its silence is fine`() {
        generating()
        thread.pass(1200)
        opener.session.done()
        thread.run()
        assertEquals(EndReason.SILENT, seen.finished.single().reason)
        thread.pass(5000)
        assertEquals(READY, seen.states.last())
    }

    @Test
    fun `pieces that keep coming are no silence`() {
        generating(request(output = 1000))
        repeat(20) {
            thread.pass(300)
            opener.session.write("x")
        }
        thread.run()
        assertEquals(GENERATING, seen.states.last())
    }

    @Test
    fun `an engine that forgets to stop is asked again`() {
        generating()
        controller.stop()
        thread.run()
        opener.session.isCancelled = false
        thread.pass(100)
        assertTrue(opener.session.isCancelled)
        opener.session.done()
        thread.run()
        assertEquals(READY, seen.states.last())
    }

    @Test
    fun `a cancel that throws is survived`() {
        generating()
        opener.session.cancelFailure = IllegalStateException("no")
        controller.stop()
        thread.run()
        opener.session.done()
        thread.run()
        assertEquals(READY, seen.states.last())
        assertTrue(seen.log.single().contains("no"))
    }

    @Test
    fun `a tokenizer that fails gives an estimate`() {
        generating()
        opener.session.counts = false
        opener.session.write("Paris")
        opener.session.done()
        thread.run()
        assertFalse(seen.finished.single().stats.exact)
    }

    @Test
    fun `merging closes the engine, then opens the copy`() {
        ready()
        controller.merge {
            assertEquals(0, opener.open.size)
            options("merged.task")
        }
        thread.run()
        assertEquals(listOf(LOADING, READY, MERGING, LOADING, READY), seen.states)
        assertEquals("open merged.task", opener.calls.last())
    }

    @Test
    fun `merging that is stopped or fails leaves nothing open`() {
        controller.merge { throw CancellationException("stopped") }
        thread.run()
        assertEquals(IDLE, seen.states.last())
        controller.merge { throw IllegalStateException("No space left") }
        thread.run()
        assertEquals(FAILED, seen.states.last())
        controller.merge { options(ranks = listOf(4)) }
        thread.run()
        assertEquals(FAILED, seen.states.last())
        assertTrue(opener.calls.isEmpty())
    }

    @Test
    fun `a merge wished for during an answer waits for its end`() {
        generating()
        controller.merge { options("merged.task") }
        thread.run()
        assertEquals(STOPPING, seen.states.last())
        opener.session.done()
        thread.run()
        assertEquals("open merged.task", opener.calls.last())
    }

    @Test
    fun `a next wish is carried out after a fault, too`() {
        generating()
        controller.open(options("b.task"))
        thread.run()
        opener.session.fault(RuntimeException("x"))
        thread.run()
        assertEquals(READY, seen.states.last())
        assertEquals("open b.task", opener.calls.last())
    }

    @Test
    fun `the marker stands while a bundle is opened, and until the first piece`() {
        var during = false
        opener.onOpen = { during = markerFile.exists() }
        ready()
        assertTrue(during)
        assertFalse(markerFile.exists())
        controller.generate(request())
        thread.run()
        assertTrue(markerFile.exists())
        opener.session.write("Par")
        thread.run()
        assertFalse(markerFile.exists())
        opener.session.done()
        controller.generate(request())
        thread.run()
        assertFalse(markerFile.exists())
    }

    @Test
    fun `an exception takes the marker away, as the app survived it`() {
        opener.failure = UnsatisfiedLinkError("libllm_inference_engine_jni.so")
        open()
        assertEquals(FailureKind.NO_NATIVE_LIBRARY, seen.failed.single().second)
        assertFalse(markerFile.exists())
    }

    @Test
    fun `where the model takes adapters, a session for the base gets the one of zeros`() {
        controller.open(EngineOptions(EngineKind.LITERT_LM, "a.litertlm", 64, Backend.CPU, listOf(16), zeroAdapterPath = "zero.tflite"))
        for (adapter in listOf(null, "x.tflite", null)) {
            controller.generate(request(adapter = adapter))
            thread.run()
            opener.session.done()
            thread.run()
        }
        assertEquals(
            listOf("zero.tflite", "x.tflite", "zero.tflite"),
            opener.calls.filter {
                it.startsWith("session")
            }.map { it.substringAfter(' ') },
        )
        assertEquals(1, opener.calls.count { it.startsWith("open") })
    }

    private fun answers(count: Int, adapter: String?) = repeat(count) {
        controller.generate(request(adapter = adapter))
        thread.run()
        opener.session.done()
        thread.run()
    }

    @Test
    fun `an engine that keeps the adapters of its sessions is opened again after so many`() {
        opener.keepsAdapters = true
        controller.open(EngineOptions(EngineKind.LITERT_LM, "a.litertlm", 64, Backend.CPU, listOf(16), zeroAdapterPath = "zero.tflite"))
        answers(SESSIONS_AN_ENGINE, null)
        assertEquals(1, opener.opened.size)
        answers(2 * SESSIONS_AN_ENGINE, "x.tflite")
        assertEquals(listOf(16, 16, 16), opener.opened.map { it.sessions.size })
        assertEquals(1, opener.open.size)
        assertEquals(3 * SESSIONS_AN_ENGINE, seen.finished.size)
        assertEquals(listOf(READY, LOADING, READY, GENERATING), seen.states.drop(2 + 2 * SESSIONS_AN_ENGINE - 1).take(4))
    }

    @Test
    fun `an engine that keeps nothing, or was given no adapter, stays open`() {
        for (keeps in listOf(true, false)) {
            opener.keepsAdapters = keeps
            val zeros = if (keeps) null else "zero.tflite"
            controller.open(EngineOptions(EngineKind.LITERT_LM, "$keeps.litertlm", 64, Backend.CPU, zeroAdapterPath = zeros))
            answers(2 * SESSIONS_AN_ENGINE, null)
        }
        assertEquals(2, opener.opened.size)
    }

    @Test
    fun `an engine that cannot be opened again is a failure of the text that was wished for`() {
        opener.keepsAdapters = true
        controller.open(EngineOptions(EngineKind.LITERT_LM, "a.litertlm", 64, Backend.CPU, listOf(16), zeroAdapterPath = "zero.tflite"))
        answers(SESSIONS_AN_ENGINE, null)
        opener.failure = IllegalStateException("Can not open OpenCL library on this device")
        val id = controller.generate(request())
        thread.run()
        assertEquals(listOf<Pair<Long?, FailureKind>>(id to FailureKind.NO_GPU), seen.failed)
        assertEquals(FAILED, seen.states.last())
        assertTrue(opener.open.isEmpty())
    }
}
