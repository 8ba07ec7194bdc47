package dev.taskbundler.core.catalogue

import dev.taskbundler.core.adapter.AdapterBuilder
import dev.taskbundler.core.adapter.readAdapter
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.assertRefused
import dev.taskbundler.core.litertlm.GPT2_LLM_METADATA
import dev.taskbundler.core.litertlm.HF_TOKENIZER
import dev.taskbundler.core.litertlm.LLM_METADATA
import dev.taskbundler.core.litertlm.LitertLmBuilder
import dev.taskbundler.core.litertlm.Section
import dev.taskbundler.core.litertlm.foldedTokenizer
import dev.taskbundler.core.litertlm.modelSection
import dev.taskbundler.core.tflite.CONTEXT
import dev.taskbundler.core.tflite.LAYERS
import dev.taskbundler.core.tflite.PLAIN_SIGNATURES
import dev.taskbundler.core.tflite.RANK
import dev.taskbundler.core.tflite.WIDTH
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File

class LitertLmCatalogueTest {
    @get:Rule
    val folder = TemporaryFolder()

    private var free = 1L shl 40
    private val root by lazy { File(folder.root, "storage") }
    private val catalogue by lazy { Catalogue(root, freeSpace = { free }) }
    private val bytes = LitertLmBuilder().build()
    private val plainBytes = built(modelSection(PLAIN_SIGNATURES))

    private fun built(model: Section, tokenizer: ByteArray = foldedTokenizer()) =
        LitertLmBuilder(listOf(Section(LLM_METADATA, GPT2_LLM_METADATA), Section(HF_TOKENIZER, tokenizer), model)).build()

    private fun bundle(content: ByteArray = bytes) = catalogue.import(BytesSource("tiny.bin", content)) as StoredBundle

    private fun adapter(name: String, rank: Int = RANK, fingerprint: String? = "f".repeat(64), width: Int = WIDTH) =
        catalogue.import(BytesSource(name, AdapterBuilder(LAYERS, width, rank, fingerprint).build())) as StoredAdapter

    private fun files() = root.walk().filter { it.isFile }.toList()

    @Test
    fun `an imported bundle is listed with what it says of itself`() {
        val bundle = bundle()
        assertEquals(listOf(bundle), catalogue.bundles())
        assertEquals(listOf("tiny.bin.litertlm", CONTEXT, RANK), listOf(bundle.name, bundle.context, bundle.litertLm?.lora?.rank))
        assertNull(bundle.manifest)
        assertEquals(FindingCode.APP_LITERTLM_NOT_MERGED, bundle.mergeProblem?.code)
    }

    @Test
    fun `with it comes an adapter of zeros for just this base, made once`() {
        val zeros = bundle().zeroAdapter!!
        assertNull(catalogue.nativeMisfit(StoredAdapter("z", "zero", zeros, 0, readAdapter(zeros).header), bundle()))
        zeros.setLastModified(1_000_000)
        assertEquals(1_000_000, Catalogue(root, freeSpace = { free }).bundles().single().zeroAdapter!!.lastModified())
        assertEquals(2, files().size)
    }

    @Test
    fun `an adapter of zeros that was lost is made again`() {
        val zeros = bundle().zeroAdapter!!
        val before = zeros.readBytes().toList()
        zeros.parentFile.deleteRecursively()
        assertEquals(before, catalogue.bundles().single().zeroAdapter!!.readBytes().toList())
    }

    @Test
    fun `deleting takes both, and a start clears an adapter of zeros whose bundle never came`() {
        catalogue.delete(bundle())
        assertEquals(emptyList<File>(), files())
        val kept = bundle()
        File(root, "zeros/${"e".repeat(64)}").mkdirs()
        File(root, "zeros/${"e".repeat(64)}/zero.tflite").writeBytes(ByteArray(5))
        catalogue.clearLeftovers()
        assertEquals(setOf(kept.file, kept.zeroAdapter), files().toSet())
    }

    @Test
    fun `a bundle without LoRA inputs has none and takes none`() {
        val plain = bundle(plainBytes)
        assertNull(plain.zeroAdapter)
        assertNull(plain.litertLm?.lora)
        assertEquals(FindingCode.APP_LITERTLM_WITHOUT_LORA, catalogue.misfit(adapter("a"), plain)?.code)
    }

    @Test
    fun `only adapters of its rank and base fit`() {
        val bundle = bundle()
        assertNull(catalogue.misfit(adapter("a"), bundle))
        assertNull(catalogue.misfit(adapter("unknown", fingerprint = null), bundle))
        assertEquals(FindingCode.APP_ADAPTER_RANK_UNSUPPORTED, catalogue.misfit(adapter("wide", rank = 32), bundle)?.code)
        assertEquals(FindingCode.APP_ADAPTER_OTHER_BASE, catalogue.misfit(adapter("other", fingerprint = "0".repeat(64)), bundle)?.code)
        assertEquals(FindingCode.APP_ADAPTER_OTHER_SHAPE, catalogue.misfit(adapter("large", width = 12), bundle)?.code)
    }

    @Test
    fun `there has to be room for the adapter of zeros, too`() {
        val finding = assertRefused(FindingCode.APP_STORAGE_FULL) {
            catalogue.import(BytesSource("x", bytes), progress = { _, _ -> free = (32L shl 20) + 1 })
        }
        assertEquals(emptyList<File>(), files())
        free = 1L shl 40
        assertEquals(bundle().litertLm?.lora?.adapterBytes, finding.arguments["needed"])
    }

    @Test
    fun `nothing is merged into it`() {
        val bundle = bundle()
        val adapter = adapter("a")
        assertRefused(FindingCode.APP_LITERTLM_NOT_MERGED, "tiny.bin.litertlm") { catalogue.merge(bundle, adapter) }
        assertEquals(emptyList<MergedCopy>(), catalogue.merged())
    }

    @Test
    fun `what is damaged leaves nothing, also no adapter of zeros`() {
        val tokenizer = foldedTokenizer().also { it[12] = (it[12] + 1).toByte() }
        val cases = mapOf(
            built(modelSection(), tokenizer) to FindingCode.TOKENIZER_UNREADABLE,
            bytes.copyOf(bytes.size - 1) to FindingCode.SECTION_OUTSIDE_FILE,
            bytes.copyOf(20) to FindingCode.FILE_TRUNCATED,
            built(modelSection(emptyList())) to FindingCode.MODEL_WEB_ONLY,
        )
        for ((content, code) in cases) {
            assertRefused(code) { bundle(content) }
            assertEquals(emptyList<File>(), files())
        }
    }

    @Test
    fun `one that was damaged later can only be deleted`() {
        val bundle = bundle()
        bundle.file.writeBytes(bytes.copyOf(100))
        assertEquals(emptyList<StoredBundle>(), catalogue.bundles())
        val damaged = catalogue.damaged().single()
        assertEquals(FindingCode.FILE_TRUNCATED, damaged.problem.code)
        catalogue.delete(damaged)
        assertEquals(emptyList<File>(), files())
        assertNotNull(bundle().zeroAdapter)
    }
}
