package dev.taskbundler.core.litertlm

import dev.taskbundler.core.writing.TokenCounter
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class TokenCountingTest {
    @get:Rule
    val folder = TemporaryFolder()

    private fun counter(tokenizer: ByteArray, type: Int = HF_TOKENIZER): TokenCounter? = tokenCounter(file(tokenizer, type))

    private fun file(tokenizer: ByteArray, type: Int = HF_TOKENIZER) = folder.newFile().apply {
        writeBytes(LitertLmBuilder(listOf(Section(LLM_METADATA, GPT2_LLM_METADATA), Section(type, tokenizer), modelSection())).build())
    }

    private fun json(merges: String = "[[\"t\", \"h\"], [\"th\", \"e\"]]", model: String = "BPE", cut: String = "ByteLevel") =
        "{\"added_tokens\": [{\"content\": \"<|endoftext|>\", \"id\": 7}], \"pre_tokenizer\": {\"type\": \"$cut\"}, " +
            "\"model\": {\"type\": \"$model\", \"vocab\": {\"the\": 5, \"x\": 2}, \"merges\": $merges}}"

    @Test
    fun `ids are the vocabulary's and the added tokens'`() {
        assertEquals(listOf(5, 2, 7), tokenEncoder(file(foldedTokenizer(json())))!!.encode("thex<|endoftext|>")?.asList())
        assertNull(tokenEncoder(file(foldedTokenizer(json())))!!.encode("y"))
        assertNull(tokenEncoder(file(foldedTokenizer(json(model = "Unigram")))))
    }

    @Test
    fun `merges are read in both their forms`() {
        assertEquals(2, counter(foldedTokenizer(json()))!!.count("the<|endoftext|>"))
        assertEquals(1, counter(foldedTokenizer(json("[\"t h\", \"th e\"]")))!!.count("the"))
    }

    @Test
    fun `what would be counted wrongly is not counted`() {
        assertNull(counter(foldedTokenizer(json(model = "Unigram"))))
        assertNull(counter(foldedTokenizer(json(cut = "Metaspace"))))
        assertNull(counter(foldedTokenizer("{\"model\": {}}")))
        assertNull(counter(foldedTokenizer("no JSON at all")))
        assertNull(counter(foldedTokenizer(json(), announced = 1 shl 25)))
        assertNull(counter(foldedTokenizer(json(), announced = 10_000)))
        assertNull(counter(ByteArray(100), SENTENCEPIECE))
    }
}
