package dev.taskbundler.core.formats

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test

class JsonParserTest {
    @Test
    fun `a document of every kind of value`() {
        val value = parseJson(" {\"a\" : [1, -2.5e3, true, false, null, \"x\", {}, []] ,\n\"b\":\t\"\"}\r\n")
        val expected = listOf(
            JsonNumber("1"),
            JsonNumber("-2.5e3"),
            JsonBoolean(true),
            JsonBoolean(false),
            JsonNull,
            JsonText("x"),
            JsonObject(emptyMap()),
            JsonArray(emptyList()),
        )
        assertEquals(JsonObject(mapOf("a" to JsonArray(expected), "b" to JsonText(""))), value)
    }

    @Test
    fun `values of another type are null, not an exception`() {
        val document = parseJson("{\"number\": 12, \"text\": \"12\", \"large\": 123456789012, \"half\": 0.5}")
        assertEquals(12, document["number"]?.int())
        assertEquals(12L, document["number"]?.long())
        assertNull(document["text"]?.int())
        assertNull(document["text"]?.long())
        assertNull(document["text"]?.double())
        assertNull(document["text"]?.array)
        assertNull(document["text"]?.get("x"))
        assertNull(document["number"]?.text)
        assertNull(document["large"]?.int())
        assertEquals(123456789012L, document["large"]?.long())
        assertNull(document["half"]?.long())
        assertEquals(0.5, document["half"]?.double()!!, 0.0)
        assertNull(document["absent"])
    }

    @Test
    fun `escapes are what they stand for`() {
        assertEquals("\"\\/\b\u000C\n\r\tä\uD83D\uDE00", parseJson("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\uD83d\\uDE00\"").text)
    }

    @Test
    fun `a string may hold everything from a space on`() {
        assertEquals(" a b~\u007F\u2028", parseJson("\" a b~\u007F\u2028\"").text)
        for (control in listOf("\u0000", "\u001F", "\t")) assertThrows(JsonException::class.java) { parseJson("\"$control\"") }
    }

    @Test
    fun `of two members with one name the later counts`() {
        assertEquals(2, parseJson("{\"a\": 1, \"a\": 2}")["a"]?.int())
    }

    @Test
    fun `what is no JSON is refused, with the place`() {
        val wrong = listOf(
            "", " ", "{", "[", "[1", "[1,", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{1:1}", "\"", "\"\\", "\"\\x\"",
            "\"\\u12\"", "\"\\u12g4\"",
            "\"a\nb\"", "01", "-", "1.", ".5", "1e", "1e+", "+1", "NaN", "Infinity", "tru", "nul", "fals", "1 2",
            "[1 2]", "{\"a\" 1}", "'a'", "{} x", "1,", "1:", "[1:2]", "[1/2]",
        )
        for (text in wrong) assertThrows(text, JsonException::class.java) { parseJson(text) }
        assertEquals(5, assertThrows(JsonException::class.java) { parseJson("[1, 2") }.at.coerceAtMost(5))
        assertEquals(4, assertThrows(JsonException::class.java) { parseJson("[1, x]") }.at)
    }

    @Test
    fun `numbers of every form`() {
        for (text in listOf("0", "-0", "10", "0.25", "1E5", "1e-5", "-1.5e+2")) assertEquals(text.toDouble(), parseJson(text).double()!!, 0.0)
    }

    @Test
    fun `deep nesting is refused instead of exhausting the stack`() {
        parseJson("[".repeat(60) + "]".repeat(60))
        val error = assertThrows(JsonException::class.java) { parseJson("[".repeat(1_000_000)) }
        assertTrue("levels" in error.message!!)
        assertThrows(JsonException::class.java) { parseJson("{\"a\":".repeat(100_000)) }
    }

    @Test
    fun `bytes have to be UTF-8`() {
        assertEquals("ä", parseJson("\"ä\"".toByteArray()).text)
        assertThrows(JsonException::class.java) { parseJson(byteArrayOf('"'.code.toByte(), 0xFF.toByte(), '"'.code.toByte())) }
    }
}
