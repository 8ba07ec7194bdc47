package dev.taskbundler.core.task

import dev.taskbundler.core.file
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.findings.assertRefused
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.withEachByteChanged
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class BundleTest {
    @get:Rule
    val folder = TemporaryFolder()

    private fun open(parts: List<ZipPart>) = openBundle(folder.file("x.task", ZipBuilder(parts).build()))

    @Test
    fun `a bundle is opened with its small parts`() {
        val bundle = open(BundleBuilder().parts())
        assertEquals("<|endoftext|>", bundle.parameters.startToken)
        assertEquals(96, bundle.manifest?.context)
        assertEquals(MODEL, bundle.model.name)
        assertNull(bundle.manifestProblem)
    }

    @Test
    fun `a bundle of another maker has no manifest`() {
        val bundle = open(BundleBuilder(manifest = { null }).parts())
        assertNull(bundle.manifest)
        assertNull(bundle.manifestProblem)
    }

    @Test
    fun `a manifest that cannot be used does not keep the bundle from running`() {
        val bundle = open(BundleBuilder(manifest = { "{" }).parts())
        assertNull(bundle.manifest)
        assertEquals(FindingCode.MANIFEST_UNREADABLE, bundle.manifestProblem?.code)
        val damaged = open(BundleBuilder().parts().map { if (it.name == MANIFEST) ZipPart(MANIFEST, it.data, crc = 5) else it })
        assertEquals(FindingCode.ENTRY_CHECKSUM_WRONG, damaged.manifestProblem?.code)
    }

    @Test
    fun `each of MediaPipe's three entries has to be there`() {
        for (name in listOf(MODEL, TOKENIZER, METADATA)) {
            assertRefused(FindingCode.ENTRY_MISSING, name) { open(BundleBuilder().parts().filter { it.name != name }) }
        }
    }

    private fun check(model: ByteArray) = checkModel(readTask(folder.file("x.task", BundleBuilder(model = model).build())))

    @Test
    fun `a model with the signatures of an LLM is fine`() {
        check(model("prefill_8", "decode"))
        check(model("decode_lora_r16", "prefill_8_lora_r16", "decode", "prefill"))
    }

    @Test
    fun `a model without them is refused`() {
        assertRefused(FindingCode.SIGNATURES_MISSING, "decode") { check(model("prefill_8")) }
        assertRefused(FindingCode.SIGNATURES_MISSING, "decode") { check(model("decode")) }
        assertRefused(FindingCode.SIGNATURES_MISSING, "none") { check(model()) }
    }

    @Test
    fun `a model without a graph is for browsers`() {
        assertRefused(FindingCode.MODEL_WEB_ONLY, "browsers") { check(model(operators = 0)) }
    }

    @Test
    fun `what is no TFLite model is refused, wherever it leads`() {
        val sound = model("prefill_8", "decode")
        assertRefused(FindingCode.MODEL_UNREADABLE) { check("TFL3TFL2".toByteArray() + ByteArray(100)) }
        assertRefused(FindingCode.MODEL_UNREADABLE) { check(byteArrayOf(-1, -1, -1, -1) + "TFL3".toByteArray() + ByteArray(8)) }
        // Whichever byte is wrong: a finding, or nothing that matters here; never another exception, never endless work.
        val whole = BundleBuilder(model = sound).build()
        val places = sound.indices.map { 56 + it }
        for (value in listOf(0, 0x7F, 0xFF)) {
            folder.withEachByteChanged(whole, places, { value }) { file ->
                try {
                    checkModel(readTask(file))
                } catch (error: FindingException) {
                    assertNotNull(error.finding)
                }
            }
        }
    }

    @Test
    fun `whichever byte of a bundle is wrong, nothing but a finding comes of it`() {
        val whole = BundleBuilder().build()
        var refused = 0
        for (mask in listOf(0x01, 0x80, 0xFF)) {
            folder.withEachByteChanged(whole, whole.indices, { it.toInt() xor mask }) { file ->
                try {
                    val bundle = openBundle(file)
                    checkModel(bundle.task)
                    for (entry in bundle.task.entries) bundle.task.checkEntry(entry.name, CancelSignal()) {}
                } catch (_: FindingException) {
                    refused++
                }
            }
        }
        // Padding, dates and versions are nobody's business.
        assertTrue("only $refused of ${3 * whole.size}", refused > 3 * whole.size * 9 / 10)
    }

    @Test
    fun `wherever a bundle is cut, it is refused`() {
        val whole = BundleBuilder().build()
        for (size in whole.indices) assertThrows("$size", FindingException::class.java) { openBundle(folder.file("cut.task", whole.copyOf(size))) }
    }
}
