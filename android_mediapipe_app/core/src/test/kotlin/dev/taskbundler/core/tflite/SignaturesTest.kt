package dev.taskbundler.core.tflite

import dev.taskbundler.core.file
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.findings.assertRefused
import dev.taskbundler.core.formats.FlatWriter
import dev.taskbundler.core.formats.Table
import dev.taskbundler.core.formats.Tables
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class SignaturesTest {
    @get:Rule
    val folder = TemporaryFolder()

    private fun read(bytes: ByteArray): List<Signature> {
        // Not at the file's beginning, as in a bundle.
        val file = folder.file("m.litertlm", ByteArray(40) + bytes + ByteArray(8))
        return readSignatures(file, 40, bytes.size.toLong())
    }

    private fun lora(vararg signatures: Signature) = loraInputs(signatures.toList(), "m.litertlm")

    private fun withDecode(change: Map<String, SignatureInput>.() -> Map<String, SignatureInput>) =
        lora(LORA_SIGNATURES[0], signature("decode", LORA_SIGNATURES[1].inputs.change()))

    @Test
    fun `signatures are read with the shapes and types of their inputs`() {
        val signatures = LORA_SIGNATURES + signature("other", mapOf("tokens" to shaped(1, 8, isFloat = false), "scalar" to shaped()))
        assertEquals(signatures, read(modelOf(signatures)))
    }

    @Test
    fun `the context is the mask's, or the length of the keys`() {
        assertEquals(CONTEXT, contextOf(PLAIN_SIGNATURES))
        assertEquals(CONTEXT, contextOf(listOf(signature("decode", PLAIN_INPUTS - "mask"))))
        assertNull(contextOf(listOf(signature("decode", mapOf("mask" to shaped(1))), signature("prefill"))))
        assertNull(contextOf(listOf(signature("prefill"))))
        assertNull(contextOf(listOf(signature("decode", mapOf("mask" to shaped(1, 1, 1, -1))))))
    }

    @Test
    fun `a cache grows where its length is a prime, by the shortest prefill`() {
        fun growth(length: Int, vararg prefills: Int) = growthOf(
            prefills.map { signature("prefill_$it", mapOf("input_pos" to shaped(it))) } +
                signature("decode", mapOf("mask" to shaped(1, 1, 1, length))),
        )
        assertEquals(32, growth(1031, 128, 32))
        assertEquals(16, growth(97, 16))
        assertNull(growth(1024, 128, 32))
        assertNull(growth(7, 4))
        // The engine chooses all of them then.
        assertNull(growth(1031, 127))
        assertNull(growth(1031))
    }

    @Test
    fun `a tensor or graph that is not there is refused`() {
        for (shift in listOf(100_000, -1)) {
            assertRefused(FindingCode.MODEL_UNREADABLE, "m.litertlm") { read(modelOf(PLAIN_SIGNATURES, shift = shift)) }
            assertRefused(FindingCode.MODEL_UNREADABLE) { read(modelOf(PLAIN_SIGNATURES, graphShift = shift)) }
        }
    }

    @Test
    fun `lists that are longer than any model's are refused`() {
        val many = Table(0 to Tables(emptyList(), (1 shl 15) + 1), 2 to "decode")
        val model = Table(2 to Tables(listOf(Table())), 7 to Tables(listOf(Table(2 to "prefill"), many)))
        assertRefused(FindingCode.MODEL_UNREADABLE, "inputs") { read(FlatWriter("TFL3").build(model)) }
        val signatures = Table(7 to Tables(emptyList(), 1025))
        assertRefused(FindingCode.MODEL_UNREADABLE, "1025") { read(FlatWriter("TFL3").build(signatures)) }
    }

    @Test
    fun `every cut of a model, and every byte of it changed, ends in a finding or in signatures`() {
        val sound = modelOf(listOf(signature("prefill_8", mapOf("a" to shaped(1, 2))), signature("decode", mapOf("mask" to shaped(1, 1, 1, 9)))))
        var refused = 0
        for (at in sound.indices) {
            for (bytes in listOf(sound.copyOf(at), sound.copyOf().also { it[at] = (it[at].toInt() xor 0xFF).toByte() })) {
                try {
                    read(bytes)
                } catch (_: FindingException) {
                    refused++
                }
            }
        }
        assertTrue("$refused of ${2 * sound.size}", refused > sound.size / 2)
    }

    @Test
    fun `LoRA inputs of the plain signatures are LiteRT-LM's layout`() {
        assertEquals(LoraInputs(LAYERS, WIDTH, RANK), loraInputs(LORA_SIGNATURES, "m"))
        assertNull(loraInputs(PLAIN_SIGNATURES, "m"))
    }

    @Test
    fun `signatures for a rank beside the plain ones are MediaPipe's, which LiteRT-LM passes over`() {
        val extra = listOf(signature("prefill_8_lora_r4", LORA_INPUTS), signature("decode_lora_r4", LORA_INPUTS))
        assertNull(loraInputs(extra + PLAIN_SIGNATURES, "m"))
    }

    @Test
    fun `a variant that stands after the plain signature would be run in its place`() {
        assertRefused(FindingCode.LORA_SIGNATURE_SHADOWS_BASE, "prefill_8", "m.litertlm") {
            lora(*PLAIN_SIGNATURES.toTypedArray(), signature("prefill_8_lora_r4", LORA_INPUTS))
        }
    }

    @Test
    fun `a rank that LiteRT-LM does not take is refused`() {
        val finding = assertRefused(FindingCode.LORA_RANK_UNSUPPORTED, "rank 8") {
            lora(signature("prefill_8", PLAIN_INPUTS + loraInputsOf(8)), signature("decode", PLAIN_INPUTS + loraInputsOf(8)))
        }
        assertEquals(8, finding.arguments["rank"])
        assertEquals(32, lora(signature("prefill", PLAIN_INPUTS + loraInputsOf(32)), signature("decode", PLAIN_INPUTS + loraInputsOf(32)))?.rank)
    }

    @Test
    fun `an input that is missing, too many or misshapen could be given no adapter`() {
        val first = "lora_atten_q_a_prime_weight_0"
        val last = "lora_atten_o_b_prime_weight_1"
        assertRefused(FindingCode.LORA_INPUTS_INCOMPLETE, first) { withDecode { this - first } }
        assertRefused(FindingCode.LORA_INPUTS_INCOMPLETE, last, "nothing") { withDecode { this - last } }
        assertRefused(FindingCode.LORA_INPUTS_INCOMPLETE, "lora_other") { withDecode { this + ("lora_other" to shaped(1)) } }
        assertRefused(FindingCode.LORA_INPUTS_INCOMPLETE, last) { withDecode { this + (last to shaped(RANK, WIDTH, isFloat = false)) } }
        assertRefused(FindingCode.LORA_INPUTS_INCOMPLETE, last) { withDecode { this + (last to shaped(WIDTH, RANK)) } }
        assertRefused(FindingCode.LORA_INPUTS_INCOMPLETE, first) { withDecode { this + (first to shaped(1, WIDTH, RANK)) } }
        assertRefused(FindingCode.LORA_INPUTS_INCOMPLETE, "width") { withDecode { this + (first to shaped(1 shl 14, RANK)) } }
        assertRefused(FindingCode.LORA_INPUTS_INCOMPLETE) { withDecode { filterKeys { !it.startsWith("kv_cache_k") } } }
    }

    @Test
    fun `a model whose adapters would be larger than any is refused`() {
        val layers = 200
        val inputs = (0 until layers).associate { "kv_cache_k_$it" to shaped(1, 1, 9, 1) } +
            tensorShapes(layers, 1 shl 13, 32).mapValues { shaped(it.value.first, it.value.second) }
        assertRefused(FindingCode.LORA_INPUTS_INCOMPLETE, "bytes") { lora(signature("prefill", inputs), signature("decode", inputs)) }
    }

    @Test
    fun `prefill and decode have to take the same adapters`() {
        assertRefused(FindingCode.LORA_INPUTS_INCOMPLETE, "prefill_8") { lora(PLAIN_SIGNATURES[0], LORA_SIGNATURES[1]) }
        assertRefused(FindingCode.LORA_INPUTS_INCOMPLETE, "decode") { lora(LORA_SIGNATURES[0], PLAIN_SIGNATURES[1]) }
    }
}
