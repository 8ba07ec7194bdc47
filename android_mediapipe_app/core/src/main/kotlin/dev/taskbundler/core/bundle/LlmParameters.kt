package dev.taskbundler.core.bundle

/** What a `.task` tells an engine in its entry METADATA: MediaPipe's message LlmParameters. */
data class LlmParameters(
    val startToken: String? = null,
    val startTokenId: Int? = null,
    val stopTokens: List<String> = emptyList(),
    val stopTokenIds: List<Int> = emptyList(),
    val bytesToUnicode: Boolean = false,
)
