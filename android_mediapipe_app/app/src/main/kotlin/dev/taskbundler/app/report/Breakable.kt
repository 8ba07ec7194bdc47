package dev.taskbundler.app.report

private val DIVIDED = Regex("(?<=[\\p{L}\\p{N}][-_+.])(?=\\p{L})")
private const val ZERO_WIDTH_SPACE = "\u200B"

/** [text], whose lines may also end after what divides the name of a file; a name that is too long for a line would be broken anywhere. */
fun breakable(text: String): String = text.replace(DIVIDED, ZERO_WIDTH_SPACE)
