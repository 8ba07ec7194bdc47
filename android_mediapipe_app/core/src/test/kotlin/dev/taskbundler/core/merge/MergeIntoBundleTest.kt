package dev.taskbundler.core.merge

import dev.taskbundler.core.adapter.AdapterBuilder
import dev.taskbundler.core.adapter.floats
import dev.taskbundler.core.adapter.readAdapter
import dev.taskbundler.core.file
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.assertRefused
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.Progress
import dev.taskbundler.core.formats.f32
import dev.taskbundler.core.formats.sha256Of
import dev.taskbundler.core.task.BundleBuilder
import dev.taskbundler.core.task.MANIFEST
import dev.taskbundler.core.task.MODEL
import dev.taskbundler.core.task.Matrix
import dev.taskbundler.core.task.UNMERGED
import dev.taskbundler.core.task.openBundle
import dev.taskbundler.core.task.read
import dev.taskbundler.core.tflite.PROJECTIONS
import dev.taskbundler.core.tflite.tensorShapes
import dev.taskbundler.core.vector
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.util.concurrent.CancellationException
import kotlin.random.Random

class MergeIntoBundleTest {
    @get:Rule
    val folder = TemporaryFolder()

    private fun merge(base: File, adapter: File, progress: Progress = Progress.NONE, cancel: CancelSignal = CancelSignal()): ByteArray {
        val output = File(folder.root, "output")
        mergeIntoBundle(openBundle(base), readAdapter(adapter), sha256Of(adapter), output, progress, cancel)
        return output.readBytes()
    }

    private fun tiny(bundle: BundleBuilder = BundleBuilder(), adapter: AdapterBuilder = AdapterBuilder()) =
        folder.file("base.task", bundle.build()) to folder.file("x.tflite", adapter.build())

    private fun vectorIsMet(type: String) =
        assertArrayEquals(vector("$type-merged.task").readBytes(), merge(vector("$type.task"), vector("adapter.tflite")))

    @Test
    fun `float32 gives Python's bytes`() = vectorIsMet("float32")

    @Test
    fun `float16 gives Python's bytes`() = vectorIsMet("float16")

    @Test
    fun `int8 gives Python's bytes`() = vectorIsMet("int8")

    @Test
    fun `int4 in blocks gives Python's bytes`() = vectorIsMet("int4")

    @Test
    fun `each matrix gets the change of its layer and projection`() {
        val (base, adapter) = tiny()
        merge(base, adapter)
        val merged = openBundle(File(folder.root, "output"))
        val bytes = File(folder.root, "output").readBytes()
        val before = base.readBytes()
        val values = AdapterBuilder().value
        for (tensor in merged.manifest!!.lora!!.tensors!!) {
            for (o in 0 until 4) {
                for (i in 0 until 4) {
                    val change = (0 until 2).sumOf { k ->
                        val a = values("lora_atten_${tensor.projection}_a_prime_weight_${tensor.layer}", 2 * i + k)
                        val b = values("lora_atten_${tensor.projection}_b_prime_weight_${tensor.layer}", 4 * k + o)
                        a.toDouble() * b
                    }
                    val at = (merged.model.offset + tensor.data).toInt() + 4 * (4 * o + i)
                    assertEquals(before.f32(at) + change.toFloat(), bytes.f32(at), 0f)
                }
            }
        }
    }

    @Test
    fun `a matrix that is merged in several pieces is the same as in one`() {
        // 600 rows of 600 bytes are more than one piece of 256 KiB, and no whole number of them.
        val width = 600
        val random = Random(1)
        val matrices = PROJECTIONS.map { Matrix(0, it, "int8", random.nextBytes(width * width), floats(FloatArray(width) { random.nextFloat() })) }
        val base = folder.file("base.task", BundleBuilder(width, matrices, ranks = "[]").build())
        val values = List(8) { FloatArray(width) { random.nextFloat() - 0.5f } }
        val names = tensorShapes(1, width, 1).keys.toList()
        val adapter = folder.file("x.tflite", AdapterBuilder(1, width, 1, value = { name, i -> values[names.indexOf(name)][i] }).build())
        val merged = merge(base, adapter)
        val opened = openBundle(base)
        for ((index, tensor) in opened.manifest!!.lora!!.tensors!!.withIndex()) {
            val data = matrices[index].data.copyOf()
            val scales = matrices[index].scales!!.copyOf()
            val change = LowRankChange(values[2 * index], values[2 * index + 1], width)
            val row = StoredRow(tensor)
            val rowChange = FloatArray(width)
            for (o in 0 until width) {
                change.row(o, rowChange)
                row.add(rowChange, data, o * width, scales, o * 4)
            }
            val at = (opened.model.offset + tensor.data).toInt()
            assertArrayEquals(data, merged.copyOfRange(at, at + data.size))
            assertArrayEquals(scales, merged.copyOfRange(at + data.size, at + data.size + scales.size))
        }
    }

    @Test
    fun `the merged file is a sound bundle that names the adapter and takes no other`() {
        val (base, adapter) = tiny()
        merge(base, adapter)
        val merged = openBundle(File(folder.root, "output"))
        assertEquals(sha256Of(adapter), merged.manifest!!.lora!!.mergedAdapter)
        for (entry in merged.task.entries) merged.task.read(entry.name, 1 shl 20)
        assertEquals(FindingCode.APP_BUNDLE_MERGED, mergeProblem(merged, "output")!!.code)
        assertRefused(FindingCode.APP_BUNDLE_MERGED, "output") { merge(File(folder.root, "output"), adapter) }
    }

    @Test
    fun `an adapter of zeros changes nothing but its own mention`() {
        val (base, adapter) = tiny(adapter = AdapterBuilder(value = { name, _ -> if ("_a_" in name) 1f else -0f }))
        val merged = merge(base, adapter)
        val before = base.readBytes()
        val opened = openBundle(base).task
        val model = opened.usable(MODEL)
        for (at in before.indices) {
            if (at < model.offset + model.size && merged[at] != before[at]) throw AssertionError("byte $at of the model")
        }
        assertTrue(sha256Of(adapter) in String(merged, Charsets.ISO_8859_1))
    }

    @Test
    fun `progress goes up to its total`() {
        val (base, adapter) = tiny()
        val reports = ArrayList<Pair<Long, Long?>>()
        merge(base, adapter, progress = { done, total -> reports.add(done to total) })
        assertEquals(reports.map { it.first }.sorted(), reports.map { it.first })
        val model = openBundle(base).model.size
        val total = base.length() + 8 * 64 + model
        assertEquals(total to total, reports.last())
        assertTrue(reports.all { it.second == total })
    }

    @Test
    fun `merging stops in the copy, in a matrix and in the checksum`() {
        val (base, adapter) = tiny()
        for (stopAfter in listOf(0, 1, 3, 8, 9)) {
            val cancel = CancelSignal()
            var reports = 0
            if (stopAfter == 0) cancel.cancel()
            assertThrows("after $stopAfter", CancellationException::class.java) {
                merge(base, adapter, { _, _ -> if (++reports == stopAfter) cancel.cancel() }, cancel)
            }
            assertEquals(stopAfter, reports)
        }
    }

    @Test
    fun `an adapter of another base is refused before anything is written`() {
        val (base, adapter) = tiny(adapter = AdapterBuilder(fingerprint = "e".repeat(64)))
        assertRefused(FindingCode.APP_ADAPTER_OTHER_BASE, "test", "base.task") { merge(base, adapter) }
        assertTrue(!File(folder.root, "output").exists())
    }

    @Test
    fun `an adapter too strong for the type is named with its place`() {
        val strong = AdapterBuilder(value = { name, _ -> if (name.startsWith("lora_atten_v") && name.endsWith("_1")) 2e19f else 0f })
        val (base, adapter) = tiny(adapter = strong)
        val finding = assertRefused(FindingCode.APP_ADAPTER_TOO_STRONG, "layer 1, v", "float32") { merge(base, adapter) }
        assertEquals(listOf<Any>(1, "v", "float32"), listOf("layer", "projection", "type").map { finding.arguments.getValue(it) })
    }

    @Test
    fun `bundles into which nothing can be merged say why`() {
        fun problem(manifest: (String) -> String?) = mergeProblem(openBundle(folder.file("b.task", BundleBuilder(manifest = manifest).build())), "B")
        assertNull(problem { it })
        assertEquals(FindingCode.APP_BUNDLE_WITHOUT_ADAPTERS, problem { null }!!.code)
        assertEquals(FindingCode.APP_BUNDLE_WITHOUT_ADAPTERS, problem { "{}" }!!.code)
        assertEquals(FindingCode.MANIFEST_UNREADABLE, problem { "{" }!!.code)
        val reason = problem { it.replace(Regex("\"tensors\".*"), "\"unmergeable\": \"because\"}}") }!!
        assertTrue(reason.message, "because" in reason.message)
        assertEquals("because", reason.arguments["reason"])
    }

    @Test
    fun `a manifest that names the merged adapter twice, or otherwise, is refused`() {
        for (manifest in listOf<
            (
                String,
            ) -> String,
            >({
            "$it ".replaceFirst("{", "{\"x\": {\"merged_adapter\": \"$UNMERGED\"}, ")
        }, { it.replace("\"merged_adapter\": ", "\"merged_adapter\":") })) {
            val (base, adapter) = tiny(BundleBuilder(manifest = manifest))
            assertRefused(FindingCode.MANIFEST_UNREADABLE, MANIFEST) { merge(base, adapter) }
        }
    }
}
