package dev.taskbundler.core.formats

import java.nio.ByteBuffer
import java.nio.charset.CodingErrorAction

/** The text that is in UTF-8 in [bytes]. Throws CharacterCodingException, where String() would put in replacement characters. */
fun decodeUtf8(bytes: ByteArray): String = Charsets.UTF_8
    .newDecoder()
    .onMalformedInput(CodingErrorAction.REPORT)
    .onUnmappableCharacter(CodingErrorAction.REPORT)
    .decode(ByteBuffer.wrap(bytes))
    .toString()
