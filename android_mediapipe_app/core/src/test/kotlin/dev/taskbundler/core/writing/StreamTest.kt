package dev.taskbundler.core.writing

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import kotlin.random.Random

class StreamTest {
    private fun joined(vararg pieces: String) = SurrogateJoiner().let { stage -> pieces.map { stage.push(it) } + stage.finish() }

    @Test
    fun `halves of a pair in two pieces come out as one`() = assertEquals(listOf("a", "😀b", ""), joined("a\uD83D", "\uDE00b"))

    @Test
    fun `an empty piece between halves parts nothing`() = assertEquals(listOf("", "", "😀", ""), joined("\uD83D", "", "\uDE00"))

    @Test
    fun `halves left alone become the replacement character`() {
        assertEquals(listOf("", "\uFFFDa", ""), joined("\uD83D", "a"))
        assertEquals(listOf("\uFFFD", "\uFFFD"), joined("\uDE00\uD83D"))
        assertEquals(listOf("\uFFFD", "😀", ""), joined("\uD83D\uD83D", "\uDE00"))
    }

    @Test
    fun `however it is cut, the text is the same`() {
        val text = "Olá 😀👩\u200D👧 mundo 🇵🇹!"
        val random = Random(3)
        repeat(200) {
            val assembler = StreamAssembler(listOf(SurrogateJoiner()))
            var place = 0
            while (place < text.length) {
                val next = minOf(text.length, place + random.nextInt(1, 5))
                assembler.push(text.substring(place, next))
                place = next
            }
            assembler.finish()
            assertEquals(text, assembler.text)
        }
    }

    @Test
    fun `stages are passed in order, and what one holds back goes through the next at the end`() {
        val assembler = StreamAssembler(listOf(SurrogateJoiner(), LeadingSpace("is", "", stripped = true), WordFilter(WordList.parse("paris"))))
        assertEquals("", assembler.push("Par"))
        assertEquals("", assembler.push("is"))
        assertEquals(" •••", assembler.finish())
        assertEquals(" •••", assembler.text)
    }

    @Test
    fun `the end comes once, and what comes later is dropped and counted`() {
        val assembler = StreamAssembler(listOf(SurrogateJoiner()))
        assembler.push("text")
        assertFalse(assembler.isDone)
        assembler.finish()
        assertTrue(assembler.isDone)
        assertEquals("", assembler.push("more"))
        assertEquals("", assembler.finish())
        assertEquals(2, assembler.late)
        assertEquals("text", assembler.text)
    }

    @Test
    fun `an end without a piece is an empty text`() =
        assertEquals("", StreamAssembler(listOf(LeadingSpace("a", "", true), SurrogateJoiner())).finish())
}
