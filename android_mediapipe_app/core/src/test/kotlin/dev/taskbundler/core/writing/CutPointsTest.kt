package dev.taskbundler.core.writing

import org.junit.Assert.assertEquals
import org.junit.Test

class CutPointsTest {
    private fun cuts(text: String) = (0..text.length).filter { isCutPoint(text, it) }

    @Test
    fun `letters may be parted anywhere`() = assertEquals(listOf(0, 1, 2, 3), cuts("abc"))

    @Test
    fun `both ends are cut points, also of the empty text`() {
        assertEquals(listOf(0), cuts(""))
        assertEquals(listOf(0, 2), cuts("😀"))
    }

    @Test
    fun `a surrogate pair stays whole`() = assertEquals(listOf(0, 1, 3, 4), cuts("a😀b"))

    @Test
    fun `a letter keeps its combining marks`() = assertEquals(listOf(0, 3, 4), cuts("e\u0301\u0323x"))

    @Test
    fun `a line break of two characters stays whole`() = assertEquals(listOf(0, 1, 3, 4), cuts("a\r\nb"))

    @Test
    fun `joined emoji, skin tones and variation selectors stay whole`() {
        assertEquals(listOf(0, 5), cuts("👩\u200D👧"))
        assertEquals(listOf(0, 4), cuts("👍🏽"))
        assertEquals(listOf(0, 2), cuts("❤\uFE0F"))
    }

    @Test
    fun `two flags part between them and not within`() = assertEquals(listOf(0, 4, 8), cuts("🇵🇹🇧🇷"))

    @Test
    fun `the next cut point is never before the one asked for, nor outside`() {
        assertEquals(3, nextCutPoint("a😀b", 2))
        assertEquals(4, nextCutPoint("a😀b", 99))
        assertEquals(0, nextCutPoint("a😀b", -1))
    }

    @Test
    fun `marks of every kind stay with their letter`() {
        assertEquals(listOf(0, 2, 3), cuts("\u0915\u093Ex"))
        assertEquals(listOf(0, 2, 3), cuts("a\u20DDx"))
        assertEquals(listOf(0, 2, 3), cuts("a\u0300x"))
    }

    @Test
    fun `what is next to a flag's letters is no part of them`() {
        assertEquals(listOf(0, 1, 5, 6), cuts("a🇵🇹b"))
        assertEquals(listOf(0, 4, 6), cuts("🇵🇹🇧"))
        assertEquals(listOf(0, 2, 4, 5), cuts("😀😀b"))
    }
}
