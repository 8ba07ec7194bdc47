package dev.taskbundler.app.teach

import dev.taskbundler.app.state.TextProblem
import dev.taskbundler.core.catalogue.ImportSource
import dev.taskbundler.core.formats.decodeUtf8
import java.io.ByteArrayOutputStream
import java.nio.charset.CharacterCodingException

/** Nothing can be taught from a text. */
class TextException(val problem: TextProblem) : Exception("$problem")

/** Bytes; a long novel has a quarter of it, and in one training less than that is read. */
internal const val MOST_TEXT_BYTES = 4 shl 20
private const val CHUNK = 1 shl 16

/** The text of a file. Throws [TextException], and what whoever offers the file throws. */
fun readText(source: ImportSource): String = source.open().use { input ->
    val bytes = ByteArrayOutputStream()
    val chunk = ByteArray(CHUNK)
    while (true) {
        val count = input.read(chunk)
        if (count < 0) break
        bytes.write(chunk, 0, count)
        if (bytes.size() > MOST_TEXT_BYTES) throw TextException(TextProblem.TOO_LONG)
    }
    val text = try {
        decodeUtf8(bytes.toByteArray())
    } catch (_: CharacterCodingException) {
        throw TextException(TextProblem.NO_TEXT)
    }
    checkText(text.removePrefix("\uFEFF"))
}

/** [text], unless there is nothing in it, or what no text has. Throws [TextException]. */
fun checkText(text: String): String = when {
    text.isBlank() -> throw TextException(TextProblem.EMPTY)
    '\u0000' in text -> throw TextException(TextProblem.NO_TEXT)
    text.length > MOST_TEXT_BYTES -> throw TextException(TextProblem.TOO_LONG)
    else -> text
}
