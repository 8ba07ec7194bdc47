package dev.taskbundler.core.litertlm

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.ProtobufException
import dev.taskbundler.core.formats.ProtobufMessage
import dev.taskbundler.core.formats.WIRE_BYTES
import dev.taskbundler.core.formats.WIRE_VARINT
import dev.taskbundler.core.task.LlmParameters

// Field numbers of LlmMetadata, TokenUnion and TokenIds, as LiteRT-LM's llm_metadata.proto and token.proto have them.
private const val START_TOKEN = 1
private const val STOP_TOKENS = 2
private const val MAX_NUM_TOKENS = 5
private const val TOKEN_IDS = 1
private const val TOKEN_TEXT = 2
private const val IDS = 1

/** A `.litertlm`'s section LlmMetadataProto. [contextTokens]: for prompt and answer together, null where it does not say. */
data class LlmMetadata(val tokens: LlmParameters, val contextTokens: Int?)

/**
 * The message in [bytes]; what this app does not need, such as templates, is passed over. A stop token that is a row of several ids is
 * not listed, as its single ids do not stop.
 *
 * Throws FindingException if that is no such message, or one with which LiteRT-LM fails: no stop token, or an empty token. [where] is
 * what messages call the file.
 */
fun decodeLlmMetadata(bytes: ByteArray, where: String): LlmMetadata {
    val message = try {
        Decoded(ProtobufMessage(bytes))
    } catch (error: ProtobufException) {
        refuse(
            FindingCode.METADATA_UNREADABLE,
            "LlmMetadataProto in $where is no LlmMetadata message (${error.message}); build the file again",
            cause = error,
        )
    }
    if (message.stops.isEmpty()) {
        refuse(
            FindingCode.STOP_TOKEN_MISSING,
            "LlmMetadataProto in $where names no stop token, and nothing would end a text; build it again with one",
        )
    }
    if ((message.stops + listOfNotNull(message.start)).any { it.isEmpty }) {
        refuse(FindingCode.TOKEN_EMPTY, "LlmMetadataProto in $where names an empty start or stop token; build the file again")
    }
    val tokens = LlmParameters(
        message.start?.text,
        // Of a row of ids the engine puts in the first.
        message.start?.ids?.firstOrNull(),
        message.stops.mapNotNull { it.text },
        message.stops.mapNotNull { it.ids.singleOrNull() },
    )
    return LlmMetadata(tokens, message.context.takeIf { it > 0 })
}

/** Text or a row of ids. */
private class Token(val text: String?, val ids: List<Int>) {
    val isEmpty get() = text.isNullOrEmpty() && ids.isEmpty()
}

private class Decoded(message: ProtobufMessage) {
    var start: Token? = null
    val stops = ArrayList<Token>()
    var context = 0

    init {
        while (!message.atEnd) {
            val (number, wire) = message.tag()
            when {
                number == START_TOKEN && wire == WIRE_BYTES -> start = token(message.message())
                number == STOP_TOKENS && wire == WIRE_BYTES -> stops += token(message.message())
                number == MAX_NUM_TOKENS && wire == WIRE_VARINT -> context = message.varint().toInt()
                else -> message.skip(wire)
            }
        }
    }

    /** Of text and ids the later counts. */
    private fun token(message: ProtobufMessage): Token {
        var token = Token(null, emptyList())
        while (!message.atEnd) {
            val (number, wire) = message.tag()
            when {
                number == TOKEN_TEXT && wire == WIRE_BYTES -> token = Token(message.text(), emptyList())
                number == TOKEN_IDS && wire == WIRE_BYTES -> token = Token(null, ids(message.message()))
                else -> message.skip(wire)
            }
        }
        return token
    }

    private fun ids(message: ProtobufMessage): List<Int> {
        val ids = ArrayList<Int>()
        while (!message.atEnd) {
            val (number, wire) = message.tag()
            when {
                number == IDS && wire == WIRE_VARINT -> ids += message.varint().toInt()
                number == IDS && wire == WIRE_BYTES -> message.packed().mapTo(ids) { it.toInt() }
                else -> message.skip(wire)
            }
        }
        return ids
    }
}
