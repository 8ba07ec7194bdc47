package dev.taskbundler.core.task

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.assertRefused
import org.junit.Assert.assertEquals
import org.junit.Test

class LlmParametersTest {
    private val stop = field(5, "x")

    private fun decode(vararg parts: ByteArray) = decodeLlmParameters(parts.fold(ByteArray(0)) { all, part -> all + part }, "x.task")

    private fun bytes(vararg values: Int) = ByteArray(values.size) { values[it].toByte() }

    @Test
    fun `GPT-2's metadata`() {
        val parameters = decode(GPT2_METADATA, bytes(0x3A, 1, 1))
        assertEquals(LlmParameters("<|endoftext|>", null, listOf("<|endoftext|>"), emptyList(), true), parameters)
    }

    @Test
    fun `tokens as ids`() {
        val parameters = decode(bytes(0x20, 0xD0, 0x88, 3), bytes(0x92, 1, 4, 0xD0, 0x88, 3, 7), bytes(0x90, 1, 9))
        assertEquals(LlmParameters(null, 50256, emptyList(), listOf(50256, 7, 9), false), parameters)
    }

    @Test
    fun `an id may be zero`() {
        assertEquals(LlmParameters(null, 0, listOf("x")), decode(bytes(0x20, 0), stop))
    }

    @Test
    fun `of two start tokens the later counts`() {
        assertEquals(LlmParameters("x", null, listOf("x")), decode(stop, bytes(0x20, 5), field(6, "x")))
        assertEquals(LlmParameters(null, 5, listOf("x")), decode(stop, field(6, "x"), bytes(0x20, 5)))
    }

    @Test
    fun `a negative id takes ten bytes`() {
        val parameters = decode(stop, bytes(0x20, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1))
        assertEquals(-1, parameters.startTokenId)
    }

    @Test
    fun `normalizations may be packed or not, and others are passed over`() {
        assertEquals(true, decode(stop, bytes(0x38, 1)).bytesToUnicode)
        assertEquals(false, decode(stop, bytes(0x3A, 2, 0, 2)).bytesToUnicode)
        assertEquals(true, decode(stop, bytes(0x38, 1), bytes(0x38, 2)).bytesToUnicode)
    }

    @Test
    fun `fields that this app does not know are passed over`() {
        val unknown = bytes(0x09, 1, 2, 3, 4, 5, 6, 7, 8) + bytes(0x15, 1, 2, 3, 4) + bytes(0x18, 0x96, 1) + field(8, "template") + bytes(0x28, 1)
        assertEquals(LlmParameters(null, null, listOf("x")), decode(unknown, stop))
    }

    @Test
    fun `what is no message is refused`() {
        val wrong = listOf(
            bytes(0x2A), bytes(0x2A, 5, 65), bytes(0x20), bytes(0x20, 0x80), bytes(0x2A, 1, 0xFF), bytes(0x0B), bytes(0x0C), bytes(0x0E), bytes(0x0F),
            bytes(0x00, 1), bytes(0x09, 1, 2), bytes(0x15, 1), bytes(0x92, 1, 1, 0x80), bytes(0x20) + ByteArray(10) { -1 } + bytes(1),
            bytes(0x2A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1), bytes(0x80, 0x80, 0x80, 0x80, 0x10, 1),
        )
        for (message in wrong) assertRefused(FindingCode.METADATA_UNREADABLE, "x.task") { decode(stop, message) }
    }

    @Test
    fun `engines need a stop token, and none that is empty`() {
        assertRefused(FindingCode.STOP_TOKEN_MISSING) { decode() }
        assertRefused(FindingCode.STOP_TOKEN_MISSING) { decode(field(6, "x")) }
        assertRefused(FindingCode.TOKEN_EMPTY) { decode(field(5, "")) }
        assertRefused(FindingCode.TOKEN_EMPTY) { decode(stop, field(6, "")) }
    }
}
