package dev.taskbundler.core.formats

import java.nio.charset.CharacterCodingException

/** A text that is no JSON; [at] is the index of the first character that does not fit. */
class JsonException(message: String, val at: Int) : Exception("$message at character $at")

/** Parse a JSON document (RFC 8259) of UTF-8 bytes. Throws JsonException for anything else. */
fun parseJson(bytes: ByteArray): JsonValue = try {
    parseJson(decodeUtf8(bytes))
} catch (error: CharacterCodingException) {
    throw JsonException("no UTF-8 (${error.message})", 0)
}

/** Parse a JSON document (RFC 8259). Of two members with one name the later counts. Throws JsonException for anything else. */
fun parseJson(text: String): JsonValue = JsonParser(text).document()

private class JsonParser(private val text: String) {
    private var at = 0

    fun document(): JsonValue {
        val value = value(0)
        skipSpace()
        if (at < text.length) fail("something after the end")
        return value
    }

    private fun value(depth: Int): JsonValue {
        // Each level is a call: without a limit a file of brackets would exhaust the stack.
        if (depth > MOST_LEVELS) fail("more than $MOST_LEVELS levels")
        skipSpace()
        return when (peek()) {
            '{' -> members(depth)
            '[' -> elements(depth)
            '"' -> JsonText(string())
            't' -> word("true", JsonBoolean(true))
            'f' -> word("false", JsonBoolean(false))
            'n' -> word("null", JsonNull)
            else -> number()
        }
    }

    private fun members(depth: Int): JsonObject {
        val members = LinkedHashMap<String, JsonValue>()
        list('}') {
            skipSpace()
            val name = string()
            skipSpace()
            expect(':')
            members[name] = value(depth + 1)
        }
        return JsonObject(members)
    }

    private fun elements(depth: Int): JsonArray {
        val elements = ArrayList<JsonValue>()
        list(']') { elements.add(value(depth + 1)) }
        return JsonArray(elements)
    }

    /** The rest of a list after its opening bracket, up to and with [end]. */
    private fun list(end: Char, element: () -> Unit) {
        at++
        skipSpace()
        if (peek() == end) {
            at++
            return
        }
        while (true) {
            element()
            skipSpace()
            if (peek() == end) {
                at++
                return
            }
            expect(',')
        }
    }

    private fun string(): String {
        expect('"')
        val result = StringBuilder()
        while (true) {
            val character = peek()
            at++
            when {
                character == '"' -> return result.toString()
                character == '\\' -> result.append(escaped())
                character < ' ' -> fail("a control character in a string")
                else -> result.append(character)
            }
        }
    }

    private fun escaped(): Char {
        val character = peek()
        at++
        return when (character) {
            '"', '\\', '/' -> character

            'b' -> '\b'

            'f' -> '\u000C'

            'n' -> '\n'

            'r' -> '\r'

            't' -> '\t'

            'u' -> {
                val digits = text.substring(at, minOf(at + 4, text.length))
                if (!digits.matches(FOUR_DIGITS)) fail("\\u without four hexadecimal digits")
                at += 4
                digits.toInt(16).toChar()
            }

            else -> fail("an unknown escape")
        }
    }

    private fun number(): JsonNumber {
        // By hand: a regular expression would look through the rest of a long document each time.
        val start = at
        if (at < text.length && text[at] == '-') at++
        if (at < text.length && text[at] == '0') at++ else digits()
        if (at < text.length && text[at] == '.') {
            at++
            digits()
        }
        if (at < text.length && text[at] in "eE") {
            at++
            if (at < text.length && text[at] in "+-") at++
            digits()
        }
        return JsonNumber(text.substring(start, at))
    }

    private fun digits() {
        val start = at
        while (at < text.length && text[at] in '0'..'9') at++
        if (at == start) fail("no value")
    }

    private fun word(word: String, value: JsonValue): JsonValue {
        if (!text.startsWith(word, at)) fail("no value")
        at += word.length
        return value
    }

    private fun skipSpace() {
        while (at < text.length && text[at] in " \t\n\r") at++
    }

    private fun expect(character: Char) {
        if (peek() != character) fail("no $character")
        at++
    }

    private fun peek(): Char = if (at < text.length) text[at] else fail("an end")

    private fun fail(what: String): Nothing = throw JsonException(what, at)

    private companion object {
        /** Our documents have five. */
        const val MOST_LEVELS = 64
        val FOUR_DIGITS = Regex("[0-9a-fA-F]{4}")
    }
}
