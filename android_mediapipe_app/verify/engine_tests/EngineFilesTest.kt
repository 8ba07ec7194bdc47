package dev.taskbundler.verify

import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.Completion
import dev.taskbundler.core.engine.EndReason
import dev.taskbundler.core.engine.EngineFailure
import dev.taskbundler.core.engine.EngineKind
import dev.taskbundler.core.engine.FailureKind
import dev.taskbundler.core.engine.Patience
import dev.taskbundler.core.engine.Refusal
import dev.taskbundler.core.engine.RefusalReason
import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.fakes.Script
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.rules.Timeout
import org.junit.runner.RunWith
import org.junit.runners.Parameterized
import java.util.concurrent.Semaphore
import java.util.concurrent.TimeUnit

/** What both engine files have to do, each over its fake. */
@RunWith(Parameterized::class)
class EngineFilesTest(private val kind: EngineKind) {
    @get:Rule
    val folder = TemporaryFolder()

    @get:Rule
    val timeout: Timeout = Timeout(30, TimeUnit.SECONDS)

    private lateinit var driven: Driven

    @Before
    fun begin() = drive(Patience())

    private fun drive(patience: Patience) {
        driven = Driven(kind, folder.root, patience)
        Script.reset()
    }

    @After
    fun noRuleWasBroken() {
        driven.close()
        assertEquals(emptyList<String>(), Script.violations.toList())
    }

    @Test
    fun `a text is streamed, with the space that MediaPipe strips`() {
        driven.open().controller.generate(driven.request())
        val completion = driven.next<Completion>()
        assertEquals(" Paris. It is old.", completion.text)
        assertEquals(completion.text, driven.text)
        assertEquals(EndReason.DONE, completion.reason)
        assertTrue("prompt The capital of France is" in Script.calls)
    }

    @Test
    fun `the settings reach the engine`() {
        driven.open().controller.generate(driven.request())
        driven.next<Completion>()
        val expected = if (kind == EngineKind.MEDIAPIPE) {
            listOf("open a.task CPU 128 []", "session base 7 0.5 0.25 3")
        } else {
            val sampler = "SamplerConfig(topK=7, topP=0.5, temperature=0.25, seed=3)"
            listOf("open a.task CPU 128", "session SessionConfig(samplerConfig=$sampler, loraConfig=null)")
        }
        assertEquals(expected, Script.calls.take(2))
    }

    @Test
    fun `listeners run on the engine's thread, observers on the controller's`() {
        driven.open().controller.generate(driven.request())
        driven.next<Completion>()
        assertEquals(setOf("engine"), driven.observerThreads.toSet())
    }

    @Test
    fun `twenty answers one after the other`() {
        driven.open()
        repeat(20) {
            driven.controller.generate(driven.request())
            assertEquals(" Paris. It is old.", driven.next<Completion>().text)
        }
    }

    @Test
    fun `stop ends an answer and keeps what was written`() {
        Script.gate = Semaphore(2)
        driven.open().controller.generate(driven.request())
        driven.next<String>()
        driven.controller.stop()
        while ("cancel" !in Script.calls) Thread.sleep(1)
        Script.gate.release(1)
        val completion = driven.next<Completion>()
        assertEquals(EndReason.STOPPED, completion.reason)
        assertEquals(driven.text, completion.text)
        assertTrue(completion.text.startsWith(" Paris"))
        assertFalse(completion.text.endsWith("old."))
        Script.gate = null
        driven.controller.generate(driven.request())
        assertEquals(" Paris. It is old.", driven.next<Completion>().text)
    }

    @Test
    fun `another bundle during an answer waits, and the old engine is closed before`() {
        Script.gate = Semaphore(2)
        driven.open().controller.generate(driven.request())
        driven.next<String>()
        driven.controller.open(driven.options("b.task"))
        driven.await(CompletionState.STOPPING)
        Script.gate.release(100)
        driven.next<Completion>()
        driven.await(CompletionState.READY)
        val order = Script.calls.filter { it.startsWith("open") || it == "close" }.map { it.take(11) }
        assertEquals(listOf("open a.task", "close", "open b.task"), order)
    }

    @Test
    fun `closing during an answer waits for its end`() {
        Script.gate = Semaphore(2)
        driven.open().controller.generate(driven.request())
        driven.next<String>()
        driven.controller.close()
        driven.await(CompletionState.STOPPING)
        assertFalse("close" in Script.calls)
        Script.gate.release(100)
        driven.await(CompletionState.IDLE)
        assertEquals("close", Script.calls.last())
    }

    @Test
    fun `a second wish during an answer is refused and does no harm`() {
        Script.gate = Semaphore(2)
        driven.open().controller.generate(driven.request())
        driven.next<String>()
        driven.controller.generate(driven.request())
        assertEquals(RefusalReason.BUSY, driven.next<Refusal>().reason)
        Script.gate.release(100)
        assertEquals(" Paris. It is old.", driven.next<Completion>().text)
    }

    @Test
    fun `a merged copy is opened after the old engine was closed`() {
        driven.open().controller.merge { driven.options("merged.task") }
        driven.await(CompletionState.MERGING)
        driven.await(CompletionState.READY)
        assertEquals(listOf("close", "open merged.task CPU 128"), Script.calls.drop(1).map { it.removeSuffix(" []") })
    }

    @Test
    fun `a bundle that cannot be opened`() {
        Script.openFailure = IllegalStateException("INVALID_ARGUMENT: Unable to open zip archive.")
        driven.controller.open(driven.options())
        assertEquals(FailureKind.TRUNCATED_FILE, driven.next<EngineFailure>().kind)
        Script.openFailure = null
        driven.open()
    }

    @Test
    fun `a library that is not there`() {
        Script.openFailure = UnsatisfiedLinkError("dlopen failed: library not found")
        driven.controller.open(driven.options())
        assertEquals(FailureKind.NO_NATIVE_LIBRARY, driven.next<EngineFailure>().kind)
    }

    @Test
    fun `a session that cannot be made, and an answer that cannot begin`() {
        driven.open()
        Script.sessionFailure = IllegalStateException("OpenCL error")
        driven.controller.generate(driven.request())
        assertEquals(FailureKind.NO_GPU, driven.next<EngineFailure>().kind)
        Script.sessionFailure = null
        driven.open()
        Script.generateFailure = IllegalStateException("OUT_OF_RANGE: Input token ids are too long.")
        driven.controller.generate(driven.request())
        // An end, and no reason to open the engine again.
        assertEquals(EndReason.FULL, driven.next<Completion>().reason)
        Script.generateFailure = null
        driven.controller.generate(driven.request())
        assertEquals(" Paris. It is old.", driven.next<Completion>().text)
    }

    @Test
    fun `a fault in the middle of an answer loses no text, whether the engine tells it or falls silent`() {
        driven.close()
        drive(Patience(first = 300, next = 300, stop = 300, step = 50))
        Script.asyncFailure = IllegalStateException("INTERNAL: fault")
        driven.open().controller.generate(driven.request())
        val failure = driven.next<EngineFailure>()
        assertEquals(if (kind == EngineKind.MEDIAPIPE) FailureKind.NOT_ANSWERING else FailureKind.UNKNOWN, failure.kind)
        assertEquals(" Paris", driven.text)
    }

    @Test
    fun `a done that never comes locks nothing up, and one that comes late frees the engine`() {
        driven.close()
        drive(Patience(first = 300, next = 200, stop = 200, step = 50))
        Script.hangs = true
        driven.open().controller.generate(driven.request())
        assertEquals(FailureKind.NOT_ANSWERING, driven.next<EngineFailure>().kind)
        assertEquals(" Paris. It is old.", driven.text)
        driven.controller.open(driven.options("b.task"))
        assertEquals(RefusalReason.ENGINE_STUCK, driven.next<Refusal>().reason)
        Script.hangs = false
        Script.release.release()
        while (!driven.next<String>().startsWith("log")) Unit
        driven.open(driven.options("b.task"))
    }

    @Test
    fun `ranks are refused before the engine sees them`() {
        driven.controller.open(driven.options(ranks = listOf(16)))
        val reason = if (kind == EngineKind.MEDIAPIPE) RefusalReason.RANKS_ON_CPU else RefusalReason.ENGINE_IGNORES_ADAPTERS
        assertEquals(reason, driven.next<Refusal>().reason)
        assertTrue(Script.calls.isEmpty())
    }

    @Test
    fun `an adapter file for an engine that was not opened for one is refused`() {
        driven.open().controller.generate(driven.request(adapter = "/models/x.tflite"))
        driven.next<Refusal>()
        assertEquals(1, Script.calls.size)
    }

    @Test
    fun `swapping adapters is a new session on the same engine`() {
        if (kind != EngineKind.MEDIAPIPE) return
        driven.open(driven.options(backend = Backend.GPU, ranks = listOf(16)))
        for (adapter in listOf(null, "/models/x.tflite", "/models/y.tflite", null)) {
            driven.controller.generate(driven.request(adapter = adapter))
            driven.next<Completion>()
        }
        assertEquals(listOf("base", "x.tflite", "y.tflite", "base"), Script.calls.filter { it.startsWith("session") }.map { it.split(" ")[1] })
        assertEquals(1, Script.calls.count { it.startsWith("open") })
    }

    @Test
    fun `a litertlm opens with LiteRT-LM, and MediaPipe never sees one`() {
        if (kind == EngineKind.MEDIAPIPE) {
            driven.controller.open(driven.litertLm())
            assertEquals(RefusalReason.ENGINE_CANNOT_OPEN, driven.next<Refusal>().reason)
            assertTrue(Script.calls.isEmpty())
        } else {
            driven.open(driven.litertLm()).controller.generate(driven.request())
            assertEquals(" Paris. It is old.", driven.next<Completion>().text)
        }
    }

    @Test
    fun `every session of a model that takes adapters gets one, the base that of zeros, on one engine`() {
        if (kind != EngineKind.LITERT_LM) return
        driven.open(driven.litertLm())
        for (adapter in listOf(null, "/models/x.tflite", "/models/y.tflite", null)) {
            driven.controller.generate(driven.request(adapter = adapter))
            driven.next<Completion>()
        }
        val given = Script.calls.filter { it.startsWith("session") }.map { it.substringAfter("loraPath=/models/").substringBefore(".tflite") }
        assertEquals(listOf("zero", "x", "y", "zero"), given)
        assertEquals(1, Script.calls.count { it.startsWith("open") })
        assertFalse("close" in Script.calls)
    }

    @Test
    fun `a long session opens the engine again before it keeps too many adapters`() {
        if (kind != EngineKind.LITERT_LM) return
        driven.open(driven.litertLm())
        repeat(40) {
            driven.controller.generate(driven.request(adapter = "/models/x.tflite".takeIf { _ -> it % 2 == 0 }))
            driven.next<Completion>()
        }
        assertEquals(3, Script.calls.count { it.startsWith("open") })
    }

    @Test
    fun `a model that takes adapters is not opened without one of zeros`() {
        if (kind != EngineKind.LITERT_LM) return
        driven.controller.open(driven.litertLm().copy(zeroAdapterPath = null))
        assertEquals(RefusalReason.NO_ZERO_ADAPTER, driven.next<Refusal>().reason)
        assertTrue(Script.calls.isEmpty())
    }

    @Test
    fun `a litertlm that takes no adapters is given none`() {
        if (kind != EngineKind.LITERT_LM) return
        Script.withoutLora = true
        driven.open(driven.litertLm(rank = null)).controller.generate(driven.request(adapter = "/models/x.tflite"))
        assertEquals(RefusalReason.NO_RANKS_DECLARED, driven.next<Refusal>().reason)
        driven.controller.generate(driven.request())
        assertEquals(" Paris. It is old.", driven.next<Completion>().text)
    }

    @Test
    fun `the fake is strict about adapters`() {
        if (kind != EngineKind.LITERT_LM) return
        // As an app would do that knew nothing of the layout.
        driven.open(driven.litertLm(rank = null)).controller.generate(driven.request())
        driven.next<EngineFailure>()
        assertEquals(listOf("a session without an adapter on a model with inputs for one"), Script.violations.toList())
        Script.violations.clear()
    }

    @Test
    fun `a top-k that the engine was not opened for is refused`() {
        driven.open().controller.generate(driven.request().copy(sampling = driven.request().sampling.copy(topK = 41)))
        assertEquals(RefusalReason.TOP_K_TOO_LARGE, driven.next<Refusal>().reason)
    }

    companion object {
        @JvmStatic
        @Parameterized.Parameters(name = "{0}")
        fun kinds() = EngineKind.entries
    }
}
