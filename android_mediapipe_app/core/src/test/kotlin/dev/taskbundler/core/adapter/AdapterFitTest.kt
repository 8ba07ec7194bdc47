package dev.taskbundler.core.adapter

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.task.LoraFacts
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

class AdapterFitTest {
    private val header = AdapterHeader("pirate", 2, 4, 16, listOf(0.5, 0.5), null, null, "a".repeat(64))
    private val facts = LoraFacts("a".repeat(64), 2, 4, listOf(0.5, 0.5), listOf(16), null, null, null)

    private fun problem(header: AdapterHeader = this.header, facts: LoraFacts = this.facts) = baseProblem(header, facts, "P", "B")

    @Test
    fun `an adapter fits the base it was trained on`() {
        assertNull(problem())
    }

    @Test
    fun `a base of another shape is told from one of other weights`() {
        val width = problem(facts = facts.copy(width = 8))!!
        assertEquals(FindingCode.APP_ADAPTER_OTHER_SHAPE, width.code)
        assertEquals(listOf<Any>("width", 4, 8), listOf("what", "found", "expected").map { width.arguments.getValue(it) })
        assertEquals("layers", problem(facts = facts.copy(layers = 3))!!.arguments["what"])
        val weights = problem(facts = facts.copy(baseFingerprint = "b".repeat(64)))!!
        assertEquals(FindingCode.APP_ADAPTER_OTHER_BASE, weights.code)
        assertTrue(weights.message, weights.message.startsWith("P was trained on other weights") && "B" in weights.message)
    }

    @Test
    fun `a fingerprint that one of them does not know is no reason`() {
        assertNull(problem(header.copy(baseFingerprint = null)))
        assertNull(problem(facts = facts.copy(baseFingerprint = null)))
    }

    @Test
    fun `scores have to be scaled alike`() {
        val scale = problem(header.copy(queryScale = listOf(0.5, 0.25)))!!
        assertEquals(FindingCode.APP_ADAPTER_OTHER_SHAPE, scale.code)
        assertEquals("query_scale", scale.arguments["what"])
    }

    @Test
    fun `an engine takes only ranks that the bundle has signatures for`() {
        assertNull(rankProblem(header, facts, "P", "B"))
        val finding = rankProblem(header, facts.copy(ranks = listOf(4, 32)), "P", "B")!!
        assertEquals(FindingCode.APP_ADAPTER_RANK_UNSUPPORTED, finding.code)
        assertEquals("4, 32", finding.arguments["ranks"])
        assertEquals("none", rankProblem(header, facts.copy(ranks = emptyList()), "P", "B")!!.arguments["ranks"])
    }
}
