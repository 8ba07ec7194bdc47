package dev.taskbundler.core.task

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.ProtobufException
import dev.taskbundler.core.formats.ProtobufMessage
import dev.taskbundler.core.formats.WIRE_BYTES
import dev.taskbundler.core.formats.WIRE_VARINT

// Field numbers of LlmParameters, as MediaPipe's llm_params.proto has them; docs/CONTAINERS.md lists them all.
private const val START_TOKEN_ID = 4
private const val STOP_TOKENS = 5
private const val START_TOKEN = 6
private const val NORMALIZATIONS = 7
private const val STOP_TOKEN_IDS = 18
private const val BYTES_TO_UNICODE = 1L

/**
 * The message in [bytes]; what this app does not need, such as templates, is passed over.
 *
 * Throws FindingException if that is no protobuf message, or one with which engines fail: no stop token, or an empty token.
 * [where] is what messages call the file.
 */
fun decodeLlmParameters(bytes: ByteArray, where: String): LlmParameters {
    val parameters = try {
        decode(bytes)
    } catch (error: ProtobufException) {
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

private fun decode(bytes: ByteArray): LlmParameters {
    val message = ProtobufMessage(bytes)
    var result = LlmParameters()
    // Filled in place: a file can name hundreds of thousands of tokens.
    val stopTokens = mutableListOf<String>()
    val stopTokenIds = mutableListOf<Int>()
    while (!message.atEnd) {
        val (number, wire) = message.tag()
        result = when {
            // One of the two: the later one counts.
            number == START_TOKEN_ID && wire == WIRE_VARINT -> result.copy(startToken = null, startTokenId = message.varint().toInt())

            number == START_TOKEN && wire == WIRE_BYTES -> result.copy(startToken = message.text(), startTokenId = null)

            number == STOP_TOKENS && wire == WIRE_BYTES -> result.also { stopTokens += message.text() }

            number == STOP_TOKEN_IDS && wire == WIRE_VARINT -> result.also { stopTokenIds += message.varint().toInt() }

            number == STOP_TOKEN_IDS && wire == WIRE_BYTES -> result.also { message.packed().mapTo(stopTokenIds) { it.toInt() } }

            number == NORMALIZATIONS && wire == WIRE_VARINT -> result.normalized(listOf(message.varint()))

            number == NORMALIZATIONS && wire == WIRE_BYTES -> result.normalized(message.packed())

            else -> result.also { message.skip(wire) }
        }
    }
    return result.copy(stopTokens = stopTokens, stopTokenIds = stopTokenIds)
}

private fun LlmParameters.normalized(by: List<Long>) = copy(bytesToUnicode = bytesToUnicode || BYTES_TO_UNICODE in by)
