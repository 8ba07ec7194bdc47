package dev.taskbundler.core.writing

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test

class BytePairEncoderTest {
    private fun ranks(vararg merges: String) = merges.withIndex().associate { it.value to it.index }

    private val encoder = BytePairEncoder(ranks("t h", "th e", "Ġ the", "Ã ©", "a b", "b c"), listOf("<|endoftext|>"))

    @Test
    fun `words are those of GPT-2's regular expression`() {
        assertEquals(
            listOf("I", "'ll", " say", ":", " it", "'s", " 12", "px", "  ", " wide", ".…", "\n", "\n", "x", "   "),
            words("I'll say: it's 12px   wide.…\n\nx   "),
        )
        assertEquals(listOf(" '", "s", " \t", " a", "\t", "b"), words(" 's \t a\tb"))
        assertEquals(emptyList<String>(), words(""))
    }

    @Test
    fun `the earliest merge comes first`() {
        assertEquals(1, encoder.count("the"))
        assertEquals(1, encoder.count(" the"))
        assertEquals(2, encoder.count("abc"))
        assertEquals(3, encoder.count("xyz"))
    }

    @Test
    fun `tokens have the ids of their symbols`() {
        val ids = listOf("Ġthe", "the", "a", "Ã©", "<|endoftext|>", "ab", "c").withIndex().associate { it.value to it.index }
        val encoder = BytePairEncoder(ranks("t h", "th e", "Ġ the", "Ã ©", "a b"), listOf("<|endoftext|>"), ids)
        assertEquals(listOf(1, 0, 4, 5, 6, 3, 2), encoder.encode("the the<|endoftext|>abcéa")?.asList())
        assertEquals(emptyList<Int>(), encoder.encode("")?.asList())
        assertEquals(100, encoder.encode("a".repeat(100))?.size)
        assertNull(encoder.encode("the b"))
        assertNull(this.encoder.encode("the"))
    }

    @Test
    fun `letters beyond ASCII are bytes`() {
        assertEquals(1, encoder.count("é"))
        assertEquals(4, encoder.count("😀"))
    }

    @Test
    fun `special tokens are one each, wherever they stand`() {
        assertEquals(3, encoder.count("the<|endoftext|> the"))
        assertEquals(2, encoder.count("<|endoftext|><|endoftext|>"))
        assertEquals(0, encoder.count(""))
    }
}
