package dev.taskbundler.core.writing

import org.junit.Assert.assertEquals
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
