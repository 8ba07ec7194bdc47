package dev.taskbundler.core.task

/**
 * What a bundle tells an engine of its tokens: a `.task` in its entry METADATA, MediaPipe's message LlmParameters.
 *
 * The start token is text or an id. [bytesToUnicode]: text is mapped to GPT-2's printable alphabet before it is cut into tokens.
 */
data class LlmParameters(
    val startToken: String? = null,
    val startTokenId: Int? = null,
    val stopTokens: List<String> = emptyList(),
    val stopTokenIds: List<Int> = emptyList(),
    val bytesToUnicode: Boolean = false,
)
