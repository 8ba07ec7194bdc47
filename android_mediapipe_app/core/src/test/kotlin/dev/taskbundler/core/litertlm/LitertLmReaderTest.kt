package dev.taskbundler.core.litertlm

import dev.taskbundler.core.file
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.findings.assertRefused
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.Table
import dev.taskbundler.core.formats.Tables
import dev.taskbundler.core.tflite.LAYERS
import dev.taskbundler.core.tflite.LoraInputs
import dev.taskbundler.core.tflite.PLAIN_SIGNATURES
import dev.taskbundler.core.tflite.RANK
import dev.taskbundler.core.tflite.WIDTH
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.util.concurrent.CancellationException

class LitertLmReaderTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val metadata = Section(LLM_METADATA, GPT2_LLM_METADATA)
    private val tokenizer = Section(HF_TOKENIZER, foldedTokenizer())
    private val model = modelSection()

    private fun open(bytes: ByteArray) = openLitertLm(folder.file("x.litertlm", bytes))

    private fun open(vararg sections: Section) = open(LitertLmBuilder(sections.toList()).build())

    private fun refused(code: FindingCode, vararg words: String, builder: LitertLmBuilder) =
        assertRefused(code, "x.litertlm", *words) { open(builder.build()) }

    @Test
    fun `what a bundle says of itself`() {
        val bundle = open(LitertLmBuilder().build())
        assertEquals(LitertLmBundle(bundle.tokens, 96, LoraInputs(LAYERS, WIDTH, RANK), "f".repeat(64)), bundle)
        assertEquals("<|endoftext|>" to listOf("<|endoftext|>"), bundle.tokens.startToken to bundle.tokens.stopTokens)
    }

    @Test
    fun `a bundle without LoRA inputs, fingerprint and context`() {
        val bundle = open(metadata, tokenizer, modelSection(PLAIN_SIGNATURES.map { it.copy(inputs = emptyMap()) }, null))
        assertNull(bundle.lora)
        assertNull(bundle.baseFingerprint)
        assertEquals(96, bundle.context)
        val short = Section(LLM_METADATA, tokenField(2, "x"))
        assertNull(open(short, tokenizer, modelSection(PLAIN_SIGNATURES.map { it.copy(inputs = emptyMap()) })).context)
    }

    @Test
    fun `the context is never longer than the model's cache`() {
        assertEquals(96, open(Section(LLM_METADATA, tokenField(2, "x") + bytesOf(0x28, 0xFF, 0xFF, 3)), tokenizer, model).context)
        assertEquals(50, open(Section(LLM_METADATA, tokenField(2, "x") + bytesOf(0x28, 50)), tokenizer, model).context)
    }

    @Test
    fun `sections in any order, a SentencePiece model, and sections that are not known here`() {
        val other = Section(1, ByteArray(9), "model_type" to "x", "note" to "y")
        assertEquals(RANK, open(other, model, Section(SENTENCEPIECE, ByteArray(5)), other, metadata).lora?.rank)
    }

    @Test
    fun `a fingerprint that is none is as good as none`() {
        assertNull(open(metadata, tokenizer, modelSection(fingerprint = "\", \"rank\": 1")).baseFingerprint)
    }

    @Test
    fun `values of other types and of any length are passed over`() {
        val long = Section(TFLITE_MODEL, model.content, "alias_of" to "9".repeat(5000), "model_type" to PREFILL_DECODE)
        assertEquals(RANK, open(metadata, tokenizer, long).lora?.rank)
        val numbers = LitertLmBuilder(pair = { key, _ -> Table(0 to key, 1 to 5.toByte(), 2 to Table(0 to 7)) })
        refused(FindingCode.SECTION_MISSING, PREFILL_DECODE, builder = numbers)
    }

    @Test
    fun `what is not there is named`() {
        refused(FindingCode.SECTION_MISSING, "LlmMetadataProto", builder = LitertLmBuilder(listOf(tokenizer, model)))
        refused(FindingCode.SECTION_MISSING, "HF_Tokenizer_Zlib or SP_Tokenizer", builder = LitertLmBuilder(listOf(metadata, model)))
        refused(FindingCode.SECTION_MISSING, "TFLiteModel tf_lite_prefill_decode", builder = LitertLmBuilder(listOf(metadata, tokenizer)))
        refused(FindingCode.SECTION_MISSING, "none at all", builder = LitertLmBuilder(emptyList()))
        val web = Section(TFLITE_MODEL, model.content, "model_type" to ARTISAN)
        refused(FindingCode.MODEL_WEB_ONLY, builder = LitertLmBuilder(listOf(metadata, tokenizer, web)))
    }

    @Test
    fun `two sections of one kind are refused, two models of different kinds are not`() {
        refused(FindingCode.SECTION_DUPLICATED, "TFLiteModel", builder = LitertLmBuilder(listOf(metadata, tokenizer, model, model)))
        refused(FindingCode.SECTION_DUPLICATED, "LlmMetadata", builder = LitertLmBuilder(listOf(metadata, tokenizer, model, metadata)))
        open(metadata, tokenizer, model, Section(TFLITE_MODEL, ByteArray(4), "model_type" to "tf_lite_embedder"))
    }

    @Test
    fun `sections that overlap, lie outside or not on a page`() {
        fun with(begin: (Long) -> Long = { it }, end: (Long) -> Long = { it }) =
            LitertLmBuilder(listOf(metadata, Section(HF_TOKENIZER, tokenizer.content, begin = begin, end = end), model))
        refused(FindingCode.SECTION_OVERLAP, "HF_Tokenizer_Zlib", builder = with(begin = { 16384 }))
        refused(FindingCode.SECTION_OVERLAP, "the header", builder = with(begin = { 0 }))
        refused(FindingCode.SECTION_OVERLAP, "TFLiteModel", builder = with(end = { 3 * 16384L + 1 }))
        refused(FindingCode.SECTION_MISALIGNED, builder = with(begin = { it + 4 }))
        refused(FindingCode.SECTION_OUTSIDE_FILE, builder = with(end = { 1L shl 40 }))
        refused(FindingCode.SECTION_OUTSIDE_FILE, builder = with(end = { Long.MAX_VALUE }, begin = { Long.MIN_VALUE }))
        refused(FindingCode.SECTION_OUTSIDE_FILE, builder = with(end = { it - 16384 }))
        refused(FindingCode.SECTION_OUTSIDE_FILE, builder = with(begin = { -16384 }, end = { 0 }))
        refused(FindingCode.SECTION_OUTSIDE_FILE, builder = with(begin = { 1L shl 50 }, end = { 1L shl 50 }))
    }

    @Test
    fun `the fixed part of the header`() {
        refused(FindingCode.CONTAINER_VERSION_UNSUPPORTED, "version 2", builder = LitertLmBuilder(version = 2))
        for (end in listOf(0, 32, -1, (1 shl 20) + 33)) {
            refused(
                FindingCode.CONTAINER_HEADER_UNREADABLE,
                builder = LitertLmBuilder(headerEnd = {
                    end
                }),
            )
        }
        refused(FindingCode.FILE_TRUNCATED, builder = LitertLmBuilder(headerEnd = { 1 shl 20 }))
        assertRefused(FindingCode.FILE_TRUNCATED) { open(LitertLmBuilder().build().copyOf(31)) }
        assertRefused(FindingCode.NOT_A_KNOWN_FILE) { open(ByteArray(100)) }
    }

    @Test
    fun `a header that leads nowhere, or pretends to hold much`() {
        refused(FindingCode.CONTAINER_HEADER_UNREADABLE, "no list", builder = LitertLmBuilder(root = { Table() }))
        refused(FindingCode.CONTAINER_HEADER_UNREADABLE, builder = LitertLmBuilder(root = { Table(1 to Table(0 to Tables(emptyList(), 1 shl 30))) }))
        refused(FindingCode.CONTAINER_HEADER_UNREADABLE, "1025", builder = LitertLmBuilder(List(1025) { Section(1, ByteArray(0)) }))
        val pairs = Array(5000) { "k$it" to "" }
        refused(
            FindingCode.CONTAINER_HEADER_UNREADABLE,
            "pairs",
            builder = LitertLmBuilder(listOf(Section(1, ByteArray(1), *pairs)), page = 1 shl 20),
        )
        val wide = LitertLmBuilder(pair = { key, _ -> Table(0 to key, 1 to 9.toByte(), 2 to Table(0 to "x".repeat(2000))) })
        refused(FindingCode.CONTAINER_HEADER_UNREADABLE, "2000 bytes", builder = wide)
    }

    @Test
    fun `every byte of header and metadata changed, and cuts everywhere, end in a finding or in a bundle`() {
        val sound = LitertLmBuilder().build()
        val changed = (0 until 600).toList() + (16384 until 16384 + GPT2_LLM_METADATA.size)
        var refused = 0
        val cases =
            changed.map { at -> sound.copyOf().also { it[at] = (it[at].toInt() xor 0x81).toByte() } } +
                sound.indices.step(509).map { sound.copyOf(it) }
        for (bytes in cases) {
            try {
                open(bytes)
            } catch (_: FindingException) {
                refused++
            }
        }
        assertTrue("$refused of ${cases.size}", refused > cases.size / 2)
    }

    @Test
    fun `metadata that is too long or none is refused`() {
        refused(FindingCode.METADATA_UNREADABLE, builder = LitertLmBuilder(listOf(Section(LLM_METADATA, bytesOf(0x0A)), tokenizer, model)))
        refused(
            FindingCode.METADATA_UNREADABLE,
            "1048577",
            builder = LitertLmBuilder(listOf(Section(LLM_METADATA, ByteArray((1 shl 20) + 1)), tokenizer, model)),
        )
    }

    private fun check(content: ByteArray, type: Int = HF_TOKENIZER, cancel: CancelSignal = CancelSignal()) =
        checkTokenizer(folder.file("x.litertlm", LitertLmBuilder(listOf(metadata, Section(type, content), model)).build()), cancel)

    @Test
    fun `a tokenizer has to unfold to what it announces`() {
        check(tokenizer.content)
        check(ByteArray(3), SENTENCEPIECE)
        val text = (0..60_000).joinToString()
        check(foldedTokenizer(text))
        val sound = foldedTokenizer("abc".repeat(1000))
        for (wrong in listOf(
            sound.copyOf(sound.size - 1), sound.copyOf(7), sound.copyOf(8), sound.copyOf(20), foldedTokenizer(announced = 5),
            foldedTokenizer(announced = 500), foldedTokenizer(announced = 0), foldedTokenizer(announced = -1),
            sound.copyOf().also { it[sound.size - 1] = (it[sound.size - 1] + 1).toByte() }, sound.copyOf().also { it[9] = 0x3F },
        )) {
            assertRefused(FindingCode.TOKENIZER_UNREADABLE, "x.litertlm") { check(wrong) }
        }
    }

    @Test
    fun `one that unfolds to gigabytes is not followed, and one can be stopped`() {
        assertRefused(FindingCode.TOKENIZER_UNREADABLE) { check(foldedTokenizer("a".repeat(5_000_000), announced = 1000)) }
        assertThrows(CancellationException::class.java) { check(tokenizer.content, cancel = CancelSignal().apply { cancel() }) }
    }
}
