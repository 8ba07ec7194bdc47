package dev.taskbundler.core.bundle

import dev.taskbundler.core.bytes.decodeUtf8
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import java.nio.charset.CharacterCodingException

// Field numbers of LlmParameters, as MediaPipe's llm_params.proto has them; docs/CONTAINERS.md lists them all.
private const val START_TOKEN_ID = 4
private const val STOP_TOKENS = 5
private const val START_TOKEN = 6
private const val NORMALIZATIONS = 7
private const val STOP_TOKEN_IDS = 18
private const val BYTES_TO_UNICODE = 1L

private const val VARINT = 0
private const val FIXED64 = 1
private const val BYTES = 2
private const val FIXED32 = 5

/**
 * The message in [bytes]; what this app does not need, such as templates, is passed over.
 *
 * Throws FindingException if that is no protobuf message, or one with which engines fail: no stop token, or an empty token.
 * [where] is what messages call the file.
 */
fun decodeLlmParameters(bytes: ByteArray, where: String): LlmParameters {
    val parameters = try {
        decode(bytes)
    } catch (error: MessageException) {
        refuse(
            FindingCode.METADATA_UNREADABLE,
            "$METADATA in $where is no LlmParameters message (${error.message}); build the bundle again",
            cause = error,
        )
    }
    if (parameters.stopTokens.isEmpty() && parameters.stopTokenIds.isEmpty()) {
        refuse(
            FindingCode.STOP_TOKEN_MISSING,
            "$METADATA in $where names no stop token, and nothing would end a text; build the bundle again with one",
        )
    }
    if (parameters.startToken == "" || "" in parameters.stopTokens) {
        refuse(FindingCode.TOKEN_EMPTY, "$METADATA in $where names the empty text as a start or stop token; build the bundle again")
    }
    return parameters
}

private class MessageException(message: String) : Exception(message)

private fun decode(bytes: ByteArray): LlmParameters {
    val message = Message(bytes)
    var result = LlmParameters()
    while (!message.atEnd) {
        val tag = message.varint()
        val number = tag ushr 3
        val wire = (tag and 7).toInt()
        if (number == 0L || number > LARGEST_FIELD) throw MessageException("field number $number")
        result = when {
            // One of the two: the later one counts.
            number == START_TOKEN_ID.toLong() && wire == VARINT -> result.copy(startToken = null, startTokenId = message.varint().toInt())

            number == START_TOKEN.toLong() && wire == BYTES -> result.copy(startToken = message.text(), startTokenId = null)

            number == STOP_TOKENS.toLong() && wire == BYTES -> result.copy(stopTokens = result.stopTokens + message.text())

            number == STOP_TOKEN_IDS.toLong() && wire == VARINT -> result.copy(stopTokenIds = result.stopTokenIds + message.varint().toInt())

            number == STOP_TOKEN_IDS.toLong() && wire == BYTES -> result.copy(
                stopTokenIds = result.stopTokenIds + message.packed().map {
                    it.toInt()
                },
            )

            number == NORMALIZATIONS.toLong() && wire == VARINT -> result.normalized(listOf(message.varint()))

            number == NORMALIZATIONS.toLong() && wire == BYTES -> result.normalized(message.packed())

            else -> result.also { message.skip(wire) }
        }
    }
    return result
}

private fun LlmParameters.normalized(by: List<Long>) = copy(bytesToUnicode = bytesToUnicode || BYTES_TO_UNICODE in by)

/** 2^29 - 1, protobuf's limit. */
private const val LARGEST_FIELD = (1L shl 29) - 1

/** A run of protobuf fields (https://protobuf.dev/programming-guides/encoding/). */
private class Message(private val bytes: ByteArray) {
    private var at = 0

    val atEnd: Boolean get() = at == bytes.size

    fun varint(): Long {
        var value = 0L
        for (shift in 0 until 70 step 7) {
            if (atEnd) throw MessageException("it ends within a number")
            val byte = bytes[at++].toLong()
            value = value or ((byte and 0x7F) shl shift)
            if (byte >= 0) return value
        }
        throw MessageException("a number of more than ten bytes")
    }

    fun text(): String = try {
        decodeUtf8(run())
    } catch (_: CharacterCodingException) {
        throw MessageException("a text that is no UTF-8")
    }

    fun packed(): List<Long> {
        val inner = Message(run())
        val values = ArrayList<Long>()
        while (!inner.atEnd) values.add(inner.varint())
        return values
    }

    fun skip(wire: Int) {
        when (wire) {
            VARINT -> varint()
            FIXED64 -> step(8)
            BYTES -> run()
            FIXED32 -> step(4)
            else -> throw MessageException("wire type $wire")
        }
    }

    private fun run(): ByteArray {
        val size = varint()
        if (size < 0 || size > bytes.size - at) throw MessageException("a field of $size bytes where ${bytes.size - at} are left")
        return step(size.toInt())
    }

    private fun step(count: Int): ByteArray {
        if (count > bytes.size - at) throw MessageException("it ends within a field")
        at += count
        return bytes.copyOfRange(at - count, at)
    }
}
