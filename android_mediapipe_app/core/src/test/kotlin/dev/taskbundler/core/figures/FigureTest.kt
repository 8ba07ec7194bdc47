package dev.taskbundler.core.figures

import dev.taskbundler.core.formats.JsonNull
import dev.taskbundler.core.formats.JsonValue
import dev.taskbundler.core.formats.parseJson
import dev.taskbundler.core.writing.GenerationStats
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test

class FigureTest {
    private val memory = ProcessMemory(pss = 6, nativeHeap = 5, graphics = 4, resident = 3, peak = 5_000_000_000, mapped = 1)
    private val stats = GenerationStats(3, 7, true, 256, null, 12.5, 640)
    private val opened = Figure(Work.OPEN, "a.task", null, 900, memory)
    private val written = Figure(Work.WRITE, "a.task", "pirate", 640, memory, stats)

    @Test
    fun `the last of each kind of work stays, with an adapter and without`() {
        val base = written.copy(adapter = null)
        val later = written.copy(adapter = "shouting", millis = 1)
        assertEquals(listOf(opened, base, later), listOf(opened).with(written).with(base).with(later))
        assertEquals(listOf(base, opened.copy(bundle = "b")), listOf(opened, base).with(opened.copy(bundle = "b")))
    }

    @Test
    fun `the figures are JSON that says the phone, the memory now, and each work`() {
        val phone = mapOf("phone" to "A \"5\"\n", "abis" to listOf("arm64-v8a"))
        val read = parseJson(encodeFigures(phone, memory, listOf(opened, written)).toByteArray())
        assertEquals("A \"5\"\n", read["phone"]?.text)
        assertEquals(listOf("arm64-v8a"), read["abis"]?.array?.map { it.text })
        assertEquals(memory, memoryOf(read["now"]))
        val (first, second) = read["figures"]!!.array!!
        assertEquals(listOf("open", "a.task", null), listOf("work", "bundle", "adapter").map { first[it]?.text })
        assertEquals(900L, first["milliseconds"]?.long())
        assertNull(first["tokens_per_second"])
        assertEquals(listOf("write", "a.task", "pirate"), listOf("work", "bundle", "adapter").map { second[it]?.text })
        assertEquals(12.5, second["tokens_per_second"]?.double())
        assertEquals(JsonNull, second["first_token_milliseconds"])
        assertEquals(listOf(3, 7, 256), listOf("prompt_tokens", "output_tokens", "context_tokens").map { second[it]?.int() })
        assertEquals(memory, memoryOf(second["memory"]))
    }

    private fun memoryOf(value: JsonValue?) = ProcessMemory(
        pss = value?.get("pss")?.long()!!,
        nativeHeap = value["native_heap"]?.long()!!,
        graphics = value["graphics"]?.long()!!,
        resident = value["resident"]?.long()!!,
        peak = value["peak"]?.long()!!,
        mapped = value["mapped"]?.long()!!,
    )
}
