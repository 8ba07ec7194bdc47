package dev.taskbundler.core.writing

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import kotlin.random.Random

class PromptWindowTest {
    private val perWord = TokenCounter { text -> text.split(Regex("\\s+")).count { it.isNotEmpty() } }
    private val perCharacter = TokenCounter { it.length }

    @Test
    fun `a short text is sent whole`() {
        val window = promptWindow("The capital of France is", 512, perWord)
        assertEquals(PromptWindow("The capital of France is", "", 0, 5, true), window)
        assertFalse(window.isCut)
    }

    @Test
    fun `blanks at the end are held back, line breaks are not`() {
        assertEquals("is" to " \t", promptWindow("is \t", 9, perWord).let { it.prompt to it.heldBack })
        assertEquals("is\n" to "    ", promptWindow("is\n    ", 9, perWord).let { it.prompt to it.heldBack })
        assertEquals("" to "  ", promptWindow("  ", 9, perWord).let { it.prompt to it.heldBack })
    }

    @Test
    fun `a text of exactly the budget is whole, of one more is cut`() {
        assertEquals("a b c", promptWindow("a b c", 3, perWord).prompt)
        assertEquals("b c d", promptWindow("a b c d", 3, perWord).prompt)
        assertTrue(promptWindow("a b c d", 3, perWord).isCut)
    }

    @Test
    fun `a long text is cut at the beginning of a word`() {
        val text = (1..500).joinToString(" ") { "word$it" }
        val window = promptWindow(text, 10, perWord)
        assertEquals((491..500).joinToString(" ") { "word$it" }, window.prompt)
        assertEquals(text, text.substring(0, window.start) + window.prompt)
        assertEquals(10, window.tokens)
    }

    @Test
    fun `a paragraph is preferred to a sentence, a sentence to a line, a line to a word`() {
        val tail = "x ".repeat(40) + "end"
        assertTrue(promptWindow("aa bb cc. Dd\n\nEe ff\n$tail", 100, perCharacter).prompt.startsWith("Ee"))
        assertTrue(promptWindow("aa bb cc cc cc. Dd ee\nff $tail", 97, perCharacter).prompt.startsWith("Dd"))
        assertTrue(promptWindow("aa bb cc cc cc Dd ee\nff $tail", 97, perCharacter).prompt.startsWith("ff"))
        assertTrue(promptWindow("aa bb ccccccccccccc Dd $tail", 97, perCharacter).prompt.startsWith("Dd"))
    }

    @Test
    fun `a better place is not sought far away`() {
        val window = promptWindow("a".repeat(400) + ". New", 100, perCharacter)
        assertEquals(100, window.prompt.length)
    }

    @Test
    fun `no surrogate pair and no accent is torn`() {
        val text = "😀e\u0301".repeat(300)
        for (budget in 1..40) {
            val window = promptWindow(text, budget, perCharacter)
            assertTrue("budget $budget", isCutPoint(text, window.start))
            assertTrue(window.prompt.length <= budget)
        }
    }

    @Test
    fun `the window is the longest that fits, for every budget`() {
        val random = Random(7)
        val text = (1..200).joinToString(" ") { "w".repeat(random.nextInt(1, 9)) }
        for (budget in 1..210) {
            assertEquals(minOf(budget, 200), perWord.count(promptWindow(text, budget, perWord).prompt))
        }
    }

    @Test
    fun `where nothing counts it estimates, and says so`() {
        val window = promptWindow("Once upon a time ".repeat(1000), 256) { null }
        assertFalse(window.exact)
        assertTrue(window.tokens in 240..256)
        assertEquals(window.tokens, estimateTokens(window.prompt))
    }

    @Test
    fun `a negative count is no count`() = assertFalse(promptWindow("text", 10) { -1 }.exact)

    @Test
    fun `a huge text is not counted as a whole`() {
        var most = 0
        promptWindow("word ".repeat(1_000_000), 512) { text -> text.length.also { most = maxOf(most, it) } / 4 }
        assertTrue("$most characters counted", most <= 512 * 16)
    }

    @Test
    fun `estimates are rather too high`() {
        assertEquals(0, estimateTokens(""))
        assertEquals(1, estimateTokens("a"))
        assertEquals(2, estimateTokens("Once"))
        assertEquals(2, estimateTokens("ç"))
        assertEquals(3, estimateTokens("中"))
        assertEquals(4, estimateTokens("😀"))
    }

    @Test
    fun `a window of no tokens is refused`() {
        assertThrows(IllegalArgumentException::class.java) { promptWindow("text", 0, perWord) }
    }

    @Test
    fun `a count of none is a count`() {
        assertTrue(promptWindow("", 5) { 0 }.exact)
        assertEquals(0, promptWindow("", 5, perWord).tokens)
    }

    @Test
    fun `estimates count bytes where letters are rare in the vocabulary`() {
        assertEquals(1, estimateTokens("\u007F"))
        assertEquals(2, estimateTokens("\u0080"))
        assertEquals(2, estimateTokens("\u07FF"))
        assertEquals(3, estimateTokens("\u0800"))
        assertEquals(2, estimateTokens("abc"))
        assertEquals(2, estimateTokens("abcd"))
    }

    @Test
    fun `a sentence may end in a quotation mark or a bracket`() {
        val tail = "x ".repeat(40) + "end"
        for (end in listOf(".\"", "!’", "?)", "…”", "。")) {
            assertEquals(end, "Dd", promptWindow("aa bb cc cc$end Dd ee\nff $tail", 94 + end.length, perCharacter).prompt.take(2))
        }
    }

    @Test
    fun `the last character is sent even if the budget is less than it takes`() = assertEquals("d", promptWindow("abcd", 1, perCharacter).prompt)
}
