package dev.taskbundler.core.task

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.assertRefused
import dev.taskbundler.core.tflite.PROJECTIONS
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test

class ManifestReaderTest {
    private val plain = String(BundleBuilder().parts().last().data)
    private val modelBytes = BundleBuilder().parts().first().data.size.toLong()

    private fun decode(text: String, size: Long = modelBytes) = decodeManifest(text.toByteArray(), size, "x.task")

    private fun changed(from: String, to: String): String = plain.replaceFirst(from, to).also { check(it != plain) { "no $from in $plain" } }

    @Test
    fun `a manifest is read`() {
        val manifest = decode(plain)
        assertEquals(listOf("tiny", "fp32", 96), listOf(manifest.name, manifest.recipe, manifest.context))
        val lora = manifest.lora!!
        assertEquals(LoraFacts("f".repeat(64), 2, 4, listOf(0.5, 0.5), listOf(2, 16), null, lora.tensors, null), lora)
        assertEquals(8, lora.tensors!!.size)
        assertEquals(MappedTensor(0, "q", WeightType.FLOAT32, 4, modelBytes - 8 * 64, null, 0), lora.tensors[0])
    }

    @Test
    fun `without a word about LoRA there is only the rest`() {
        assertEquals(BundleManifest("n", null, null, null), decode("{\"name\": \"n\"}"))
        assertNull(decode("{\"lora\": 5}").lora)
    }

    @Test
    fun `a merged adapter and a reason against merging are read`() {
        val hash = "0123456789abcdef".repeat(4)
        assertEquals(hash, decode(changed(UNMERGED, hash)).lora!!.mergedAdapter)
        val reason = decode(plain.replace(Regex("\"tensors\".*"), "\"unmergeable\": \"because\"}}")).lora!!
        assertNull(reason.tensors)
        assertEquals("because", reason.unmergeable)
        val silent = decode(plain.replace(Regex(", \"tensors\".*"), "}}")).lora!!
        assertNull(silent.tensors)
        assertEquals("its manifest has no map of tensors", silent.unmergeable)
    }

    @Test
    fun `what is no manifest is refused`() {
        val wrong = listOf(
            "", "[]", "5",
            plain.dropLast(
                1,
            ),
            changed("\"lora\": {\"format\": 1", "\"lora\": {\"format\": 2"), changed("\"layers\": 2", "\"layers\": 0"),
            changed("\"layers\": 2", "\"layers\": 2000"), changed("\"layers\": 2", "\"layers\": \"2\""), changed("\"width\": 4", "\"width\": 0"),
            changed(
                "\"width\": 4",
                "\"width\": 100000",
            ),
            changed("[0.5, 0.5]", "[0.5]"), changed("[0.5, 0.5]", "[0.5, \"x\"]"), changed("[0.5, 0.5]", "1"),
            changed("\"ranks\": [2, 16]", "\"ranks\": 2"), changed("merged_adapter", "merged"),
        )
        for (text in wrong) assertRefused(FindingCode.MANIFEST_UNREADABLE, "x.task") { decode(text) }
    }

    @Test
    fun `a map that leads elsewhere is refused`() {
        val first = modelBytes - 8 * 64
        val wrong = listOf(
            changed(
                "\"data\": $first",
                "\"data\": ${first + 64}",
            ),
            changed("\"data\": $first", "\"data\": ${first + 1}"), changed("\"data\": $first", "\"data\": -5"),
            changed(
                "\"data\": $first",
                "\"data\": $modelBytes",
            ),
            changed("\"data\": $first", "\"data\": \"x\""), changed("\"data\": $first", "\"data\": 0.5"),
            changed("\"data\": $first", "\"data\": ${Long.MAX_VALUE}"), changed("\"projection\": \"k\"", "\"projection\": \"q\""),
            changed(
                "\"projection\": \"k\"",
                "\"projection\": \"x\"",
            ),
            changed("\"layer\": 0", "\"layer\": 1"), changed("\"layer\": 0", "\"layer\": 2"),
            changed("\"shape\": [4, 4]", "\"shape\": [4, 8]"), changed("\"shape\": [4, 4]", "\"shape\": [4]"), changed("\"float32\"", "\"float64\""),
            changed("\"block\": 0", "\"block\": 2"), changed("\"block\": 0", "\"x\": 0"), changed("\"scales\": null", "\"scales\": 3"),
            changed(
                "\"scales\": null",
                "\"scales\": \"3\"",
            ),
            changed("\"float32\"", "\"int8\""), changed(Regex("\"tensors\": .*").find(plain)!!.value, "\"tensors\": 5}}"),
            changed(
                ", {\"layer\": 1, \"projection\": \"o\"",
                ", {\"layer\": 7, \"projection\": \"o\"",
            ),
            plain.replace(Regex(", \\{\"layer\": 1, \"projection\": \"o\"[^}]*}"), ""),
        )
        for (text in wrong) assertRefused(FindingCode.MANIFEST_CONTRADICTS, "x.task") { decode(text) }
        assertRefused(FindingCode.MANIFEST_CONTRADICTS, "$modelBytes") { decode(plain, modelBytes - 1) }
    }

    private fun quantized(type: String, block: Int, width: Int = 4, scales: String = "500"): String {
        val map = PROJECTIONS.mapIndexed { i, projection ->
            "{\"layer\": 0, \"projection\": \"$projection\", \"type\": \"$type\", \"shape\": [$width, $width], \"data\": ${i * 40}, " +
                "\"scales\": ${if (scales == "500") "${500 + 40 * i}" else scales}, \"block\": $block}"
        }
        return "{\"lora\": {\"format\": 1, \"layers\": 1, \"width\": $width, \"query_scale\": [1], \"ranks\": [], " +
            "\"merged_adapter\": \"$UNMERGED\", \"tensors\": [${map.joinToString()}]}}"
    }

    @Test
    fun `quantized matrices have scales, in blocks or not`() {
        val rows = decode(quantized("int8", 0), 700).lora!!.tensors!![1]
        assertEquals(MappedTensor(0, "k", WeightType.INT8, 4, 40, 540, 0), rows)
        assertEquals(listOf<Any>(4, 16L, 4, 16L), listOf(rows.rowBytes, rows.dataBytes, rows.scaleRowBytes, rows.scalesBytes))
        val blocks = decode(quantized("int4", 2), 700).lora!!.tensors!![1]
        assertEquals(listOf<Any>(2, 8L, 4, 16L), listOf(blocks.rowBytes, blocks.dataBytes, blocks.scaleRowBytes, blocks.scalesBytes))
        assertEquals(8, decode(quantized("int8", 1), 700).lora!!.tensors!![0].scaleRowBytes)
    }

    @Test
    fun `quantized matrices whose blocks or scales cannot be are refused`() {
        for (text in listOf(
            quantized("int8", 3),
            quantized("int8", -2),
            quantized("int4", 1),
            quantized("int4", 0, width = 5),
            quantized("int8", 0, scales = "null"),
        )) {
            assertRefused(FindingCode.MANIFEST_CONTRADICTS) { decode(text, 700) }
        }
        assertRefused(FindingCode.MANIFEST_CONTRADICTS) { decode(quantized("int8", 0), 500 + 3 * 40 + 15) }
        assertRefused(FindingCode.MANIFEST_CONTRADICTS) { decode(quantized("int8", 0, width = 7), 900) }
    }
}
