package dev.taskbundler.core.engine

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit

class EngineRulesTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val plain = EngineOptions(EngineKind.MEDIAPIPE, "a.task", 512, Backend.CPU)
    private val native = plain.copy(backend = Backend.GPU, loraRanks = listOf(16))

    @Test
    fun `plain options on either back end and ranks on the GPU are fine`() {
        for (options in listOf(
            plain,
            plain.copy(backend = Backend.GPU),
            native,
            plain.copy(kind = EngineKind.LITERT_LM),
        )) {
            assertNull(refusal(options))
        }
    }

    @Test
    fun `what must not be opened`() {
        assertEquals(RefusalReason.RANKS_ON_CPU, refusal(native.copy(backend = Backend.CPU))?.reason)
        assertEquals(RefusalReason.ENGINE_IGNORES_ADAPTERS, refusal(native.copy(kind = EngineKind.LITERT_LM))?.reason)
        assertEquals(RefusalReason.CONTEXT_TOO_SMALL, refusal(plain.copy(contextTokens = 15))?.reason)
    }

    @Test
    fun `what an open engine must not be given`() {
        assertNull(refusal(native, Sampling(), "x.tflite"))
        assertNull(refusal(plain, Sampling(), null))
        assertEquals(RefusalReason.NO_RANKS_DECLARED, refusal(plain, Sampling(), "x.tflite")?.reason)
        assertEquals(RefusalReason.TOP_K_TOO_LARGE, refusal(plain, Sampling(topK = 41), null)?.reason)
        assertEquals(RefusalReason.ENGINE_IGNORES_ADAPTERS, refusal(plain.copy(kind = EngineKind.LITERT_LM), Sampling(), "x.tflite")?.reason)
    }

    @Test
    fun `a litertlm is for LiteRT-LM, on either back end, and takes adapters only beside one of zeros`() {
        val bare = plain.copy(kind = EngineKind.LITERT_LM, modelPath = "a.litertlm")
        val lora = bare.copy(loraRanks = listOf(16), zeroAdapterPath = "zero.tflite")
        for (options in listOf(bare, lora, lora.copy(backend = Backend.GPU))) assertNull(refusal(options))
        assertEquals(RefusalReason.ENGINE_CANNOT_OPEN, refusal(bare.copy(kind = EngineKind.MEDIAPIPE))?.reason)
        assertEquals(RefusalReason.NO_ZERO_ADAPTER, refusal(lora.copy(zeroAdapterPath = null))?.reason)
        assertNull(refusal(lora, Sampling(), "x.tflite"))
        assertNull(refusal(lora, Sampling(), null))
        assertEquals(RefusalReason.NO_RANKS_DECLARED, refusal(bare, Sampling(), "x.tflite")?.reason)
    }

    @Test
    fun `what engines say is told apart`() {
        val said = mapOf(
            "INVALID_ARGUMENT: Unable to open zip archive." to FailureKind.TRUNCATED_FILE,
            "Unable to map file to memory buffer, file size is 130" to FailureKind.NOT_MAPPED,
            "Previous invocation still processing. Wait for done=true." to FailureKind.ENGINE_BUSY,
            "OUT_OF_RANGE: Input token ids are too long. Exceeding the maximum number of tokens allowed: 600 >= 512" to FailureKind.CONTEXT_FULL,
            "Can not open OpenCL library on this device" to FailureKind.NO_GPU,
            "NOT_FOUND: TF_LITE_PREFILL_DECODE not found in the model." to FailureKind.WRONG_FILE,
            "something else" to FailureKind.UNKNOWN,
        )
        for ((message, kind) in said) assertEquals(message, kind, failureOf(IllegalStateException(message), "Opening").kind)
        assertEquals(FailureKind.OUT_OF_MEMORY, failureOf(OutOfMemoryError(), "Opening").kind)
        assertEquals(FailureKind.NO_GPU, failureOf(RuntimeException("failed", IllegalStateException("no GPU")), "Opening").kind)
        assertEquals(FailureKind.UNKNOWN, failureOf(RuntimeException(), "Opening").kind)
        assertEquals(FailureKind.NO_NATIVE_LIBRARY, failureOf(ExceptionInInitializerError(UnsatisfiedLinkError("x")), "Opening").kind)
    }

    @Test
    fun `a marker that is still there tells what the app did not survive`() {
        val file = folder.root.resolve("marker")
        LoadMarker(file).begin(native, "open")
        assertEquals(LoadMarker.Unfinished("a.task", Backend.GPU, EngineKind.MEDIAPIPE, listOf(16), "open", 1), LoadMarker(file).unfinished())
    }

    @Test
    fun `the same bundle twice in a row counts twice, another one starts anew`() {
        val file = folder.root.resolve("marker")
        LoadMarker(file).begin(plain, "open")
        LoadMarker(file).begin(plain, "first answer")
        assertEquals(2, LoadMarker(file).unfinished()?.times)
        LoadMarker(file).begin(plain.copy(modelPath = "b.task"), "open")
        assertEquals(1, LoadMarker(file).unfinished()?.times)
    }

    @Test
    fun `ended or forgotten, it is gone`() {
        val file = folder.root.resolve("marker")
        LoadMarker(file).run {
            begin(plain, "open")
            end()
            assertNull(unfinished())
        }
        assertFalse(file.exists())
        LoadMarker(file).begin(plain, "open")
        LoadMarker(file).run {
            assertTrue(unfinished() != null)
            forget()
            assertNull(unfinished())
        }
        assertNull(LoadMarker(file).unfinished())
    }

    @Test
    fun `a marker cut short still counts, and one that cannot be written does no harm`() {
        val file = folder.root.resolve("marker")
        file.writeText("a.task\n")
        assertEquals(1, LoadMarker(file).unfinished()?.times)
        val nowhere = folder.root.resolve("no/such/folder/marker")
        LoadMarker(nowhere).run {
            begin(plain, "open")
            end()
        }
        assertNull(LoadMarker(folder.root).unfinished())
    }

    @Test
    fun `the background thread keeps the order, and takes delayed tasks back`() {
        val thread = BackgroundThread("test")
        val seen = ArrayList<Int>()
        val latch = CountDownLatch(1)
        val takeBack = thread.postDelayed(500) { seen += 99 }
        repeat(100) { number -> thread.post { seen += number } }
        thread.post { takeBack() }
        thread.postDelayed(1000) { latch.countDown() }
        assertTrue(latch.await(5, TimeUnit.SECONDS))
        assertEquals((0..99).toList(), seen)
        thread.shutdown()
    }

    @Test
    fun `a marker keeps every field, one to a line`() {
        val file = folder.root.resolve("marker")
        val options = EngineOptions(EngineKind.LITERT_LM, "/a\nb.task", 512, Backend.CPU, listOf(16, 32))
        LoadMarker(file).begin(options, "first answer")
        assertEquals(
            LoadMarker.Unfinished("/a b.task", Backend.CPU, EngineKind.LITERT_LM, listOf(16, 32), "first answer", 1),
            LoadMarker(file).unfinished(),
        )
        file.writeText("a.task\nTPU\nABACUS\nx,4\nopen\nmany")
        assertEquals(LoadMarker.Unfinished("a.task", null, null, listOf(4), "open", 1), LoadMarker(file).unfinished())
    }
}
