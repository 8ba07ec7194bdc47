package dev.taskbundler.core.litertlm

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.assertRefused
import dev.taskbundler.core.task.LlmParameters
import dev.taskbundler.core.task.field
import org.junit.Assert.assertEquals
import org.junit.Test

class LlmMetadataTest {
    private val stop = tokenField(2, "x")

    private fun decode(vararg parts: ByteArray) = decodeLlmMetadata(parts.fold(ByteArray(0)) { all, part -> all + part }, "x.litertlm")

    private fun ids(number: Int, vararg ids: Int) = messageField(number, messageField(1, ids.fold(ByteArray(0)) { all, id -> all + bytesOf(8, id) }))

    @Test
    fun `GPT-2's metadata`() {
        assertEquals(LlmMetadata(LlmParameters("<|endoftext|>", null, listOf("<|endoftext|>")), 96), decode(GPT2_LLM_METADATA))
    }

    @Test
    fun `tokens as ids, packed or not`() {
        val packed = messageField(2, messageField(1, messageField(1, bytesOf(9))))
        assertEquals(LlmParameters(null, 5, emptyList(), listOf(7, 9)), decode(ids(1, 5, 6), ids(2, 7), packed).tokens)
    }

    @Test
    fun `a stop of several ids is one, though none of its ids is`() {
        assertEquals(LlmParameters(null, null, emptyList(), emptyList()), decode(ids(2, 7, 8)).tokens)
    }

    @Test
    fun `of text and ids the later counts`() {
        val both = messageField(1, field(2, "a") + messageField(1, bytesOf(8, 3)))
        assertEquals(3 to null, decode(stop, both).tokens.run { startTokenId to startToken })
        val reversed = messageField(1, messageField(1, bytesOf(8, 3)) + field(2, "a"))
        assertEquals(null to "a", decode(stop, reversed).tokens.run { startTokenId to startToken })
    }

    @Test
    fun `what this app does not know is passed over, and a context of 0 is none`() {
        val unknown = field(7, "template") + bytesOf(0x58, 0) + messageField(1, field(2, "s") + bytesOf(0x18, 1)) +
            messageField(2, messageField(1, bytesOf(8, 4, 0x10, 1)))
        assertEquals(LlmMetadata(LlmParameters("s", null, listOf("x"), listOf(4)), null), decode(unknown, stop, bytesOf(0x28, 0)))
    }

    @Test
    fun `what is no message is refused`() {
        val wrong = listOf(
            bytesOf(0x0A), bytesOf(0x0A, 5, 1), messageField(1, bytesOf(0x0A, 9)), messageField(1, messageField(1, bytesOf(8))),
            messageField(
                1,
                messageField(1, bytesOf(0x0A, 1, 0x80)),
            ),
            messageField(1, bytesOf(0x12, 1, 0xFF)), bytesOf(0x28), bytesOf(0x0B), bytesOf(0),
        )
        for (message in wrong) assertRefused(FindingCode.METADATA_UNREADABLE, "x.litertlm") { decode(stop, message) }
    }

    @Test
    fun `LiteRT-LM needs a stop token, and none that is empty`() {
        assertRefused(FindingCode.STOP_TOKEN_MISSING) { decode() }
        assertRefused(FindingCode.STOP_TOKEN_MISSING) { decode(tokenField(1, "x")) }
        for (empty in listOf(tokenField(2, ""), messageField(2, ByteArray(0)), ids(2), tokenField(1, ""))) {
            assertRefused(FindingCode.TOKEN_EMPTY) { decode(stop, empty) }
        }
    }
}
