package dev.taskbundler.core.adapter

import dev.taskbundler.core.file
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.findings.assertRefused
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.tflite.tensorName
import dev.taskbundler.core.vector
import dev.taskbundler.core.withEachByteChanged
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class AdapterReaderTest {
    @get:Rule
    val folder = TemporaryFolder()

    private fun read(builder: AdapterBuilder) = readAdapter(folder.file("x.tflite", builder.build()))

    private fun refused(code: FindingCode, vararg words: String, builder: AdapterBuilder) = assertRefused(code, "x.tflite", *words) { read(builder) }

    private fun changed(number: Int, change: (AdapterTensor) -> AdapterTensor?) = AdapterBuilder(
        tensors = { tensors -> tensors.mapIndexedNotNull { index, tensor -> if (index == number) change(tensor) else tensor } },
    )

    @Test
    fun `an adapter file that Python wrote is read`() {
        val adapter = readAdapter(vector("adapter.tflite"))
        val header = adapter.header
        assertEquals(listOf<Any?>("vectors", 1, 32, 16, 3.0), listOf(header.name, header.layers, header.width, header.rank, header.alpha))
        FileBytes(adapter.file).use { bytes ->
            val a = adapter.a(bytes, "o", 0)
            assertEquals(32 * 16, a.size)
            // make_vectors.py puts these three there.
            assertArrayEquals(floatArrayOf(1f, 1.1529215E18f, -1.1529215E18f), a.copyOf(3), 0f)
            val b = adapter.b(bytes, "v", 0)
            assertEquals(0f, b[5], 0f)
            assertTrue(b[6] != 0f)
        }
    }

    @Test
    fun `values are where the file says`() {
        val adapter = read(AdapterBuilder())
        FileBytes(adapter.file).use { bytes ->
            val name = tensorName("k", 'b', 1)
            assertEquals("lora_atten_k_b_prime_weight_1", name)
            val expected = FloatArray(8) { AdapterBuilder().value(name, it) }
            assertArrayEquals(expected, adapter.b(bytes, "k", 1), 0f)
        }
        assertEquals(AdapterHeader("test", 2, 4, 2, listOf(0.5, 0.5), 4.0, "mit", "f".repeat(64)), adapter.header)
    }

    @Test
    fun `the header alone is read quickly, with the same checks`() {
        assertEquals(2, readAdapterHeader(folder.file("x.tflite", AdapterBuilder(tensors = { emptyList() }, ownBuffer = 1).build())).rank)
        assertRefused(FindingCode.ADAPTER_RANK_WRONG) { readAdapterHeader(folder.file("x.tflite", AdapterBuilder(rankMetadata = 3).build())) }
    }

    @Test
    fun `a missing tensor is named`() {
        refused(FindingCode.ADAPTER_TENSOR_MISSING, "1 of 16", "lora_atten_q_b_prime_weight_0", builder = changed(1) { null })
    }

    @Test
    fun `a tensor too many is named`() {
        refused(
            FindingCode.ADAPTER_TENSOR_EXTRA,
            "weight_2",
            builder = AdapterBuilder {
                it +
                    AdapterTensor(tensorName("q", 'a', 2), FloatArray(8), listOf(4, 2))
            },
        )
        refused(FindingCode.ADAPTER_TENSOR_EXTRA, "weight_0", builder = AdapterBuilder { it + it[0] })
    }

    @Test
    fun `a tensor of another shape, type or size is named`() {
        val name = tensorName("q", 'a', 0)
        val wrong = listOf(
            AdapterTensor(name, FloatArray(8), listOf(2, 4)),
            AdapterTensor(name, FloatArray(8), listOf(8)),
            AdapterTensor(name, FloatArray(8), listOf(4, 2, 1)),
            AdapterTensor(
                name,
                FloatArray(8),
                List(20) {
                    1
                },
            ),
            AdapterTensor(name, FloatArray(6), listOf(4, 2)),
            AdapterTensor(name, FloatArray(8), listOf(4, 2), type = 1),
            AdapterTensor(name, FloatArray(8), emptyList()),
        )
        for (tensor in wrong) refused(FindingCode.ADAPTER_TENSOR_MISSHAPEN, name, builder = changed(0) { tensor })
    }

    @Test
    fun `values that are not finite are counted`() {
        for (value in listOf(Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY)) {
            val builder = changed(3) { AdapterTensor(it.name, it.values.copyOf().also { values -> values[7] = value }, it.shape) }
            refused(FindingCode.ADAPTER_NOT_FINITE, "1 NaN or infinite values out of 8", builder = builder)
        }
    }

    @Test
    fun `data that LiteRT-LM would look for elsewhere is refused`() {
        refused(FindingCode.ADAPTER_LAYOUT_IGNORED, builder = changed(0) { AdapterTensor(it.name, it.values, it.shape, shift = 4) })
        refused(FindingCode.ADAPTER_LAYOUT_IGNORED, builder = changed(0) { AdapterTensor(it.name, it.values, it.shape, outside = false) })
    }

    @Test
    fun `the rank has to be there twice, the same`() {
        refused(FindingCode.ADAPTER_RANK_MISSING, builder = AdapterBuilder(rankMetadata = null))
        refused(FindingCode.ADAPTER_RANK_WRONG, "3", "2", builder = AdapterBuilder(rankMetadata = 3))
    }

    @Test
    fun `a file of whole pages may have been cut, another was`() {
        refused(FindingCode.ADAPTER_SIZE_NO_PAGE_MULTIPLE, builder = AdapterBuilder(page = 16))
        val whole = vector("adapter.tflite").readBytes()
        assertRefused(FindingCode.ADAPTER_UNREADABLE) { readAdapter(folder.file("x", whole.copyOf(16384))) }
        assertRefused(FindingCode.ADAPTER_UNREADABLE) { readAdapter(folder.file("x", whole.copyOf(100))) }
        assertRefused(FindingCode.ADAPTER_UNREADABLE) { readAdapter(folder.file("x", ByteArray(0))) }
    }

    @Test
    fun `what is no TFLite file is no adapter`() {
        val other = AdapterBuilder().build().also { it[4] = 'X'.code.toByte() }
        assertRefused(FindingCode.ADAPTER_UNREADABLE, "no TFLite flatbuffer") { readAdapter(folder.file("x", other)) }
    }

    @Test
    fun `a TFLite file that is no adapter of ours is told from a damaged one`() {
        refused(FindingCode.APP_KIND_UNUSED, "task_bundler_adapter", builder = AdapterBuilder(ownMetadata = "other"))
    }

    @Test
    fun `a header that cannot be used is refused`() {
        val plain = AdapterBuilder()
        val wrong = listOf(
            "{", "[]", "\"\uD83D\"",
            plain.plainHeader(
                format = "2",
            ),
            plain.plainHeader(name = "5"), plain.plainHeader(layers = "0"), plain.plainHeader(layers = "100000"),
            plain.plainHeader(width = "-4"), plain.plainHeader(width = "100000"), plain.plainHeader(rank = "0"), plain.plainHeader(rank = "1000"),
            plain.plainHeader(scales = "0.5"), plain.plainHeader(scales = "0.5, \"x\""),
        )
        for (header in wrong) refused(FindingCode.ADAPTER_UNREADABLE, builder = AdapterBuilder(header = header))
    }

    @Test
    fun `references that lead nowhere are refused`() {
        refused(FindingCode.ADAPTER_UNREADABLE, builder = AdapterBuilder(ownBuffer = 0))
        refused(FindingCode.ADAPTER_UNREADABLE, builder = AdapterBuilder(ownBuffer = 99))
        // 18 buffers: the empty one, one for each of 16 tensors, and the header's.
        refused(FindingCode.ADAPTER_UNREADABLE, "element", builder = AdapterBuilder(ownBuffer = 18))
        refused(FindingCode.ADAPTER_UNREADABLE, builder = AdapterBuilder(ownBuffer = -1))
        refused(FindingCode.ADAPTER_UNREADABLE, builder = AdapterBuilder(graphs = false))
        refused(FindingCode.ADAPTER_UNREADABLE, builder = changed(0) { AdapterTensor(it.name, it.values, it.shape, buffer = 77) })
        refused(FindingCode.ADAPTER_UNREADABLE, builder = changed(0) { AdapterTensor(null, it.values, it.shape) })
        refused(FindingCode.ADAPTER_UNREADABLE, builder = AdapterBuilder(announced = 20_000))
    }

    @Test
    fun `whichever byte of the structure is wrong, nothing but a finding comes of it`() {
        val whole = AdapterBuilder().build()
        val used = whole.indexOfLast { it != 0.toByte() } + 1
        var refused = 0
        folder.withEachByteChanged(whole, 0 until used, { it + 0x40 }) { file ->
            try {
                readAdapter(file)
            } catch (_: FindingException) {
                refused++
            }
        }
        assertTrue("only $refused of $used", refused > used / 3)
    }
}
