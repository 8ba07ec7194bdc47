package dev.taskbundler.core.findings

/**
 * Something found wrong with a file or with a wish.
 *
 * An app translates by [code] and [arguments] (text, numbers or sizes in bytes, by name); [message] is the English sentence:
 * what was found, what was expected, what to do.
 */
data class Finding(val code: FindingCode, val arguments: Map<String, Any>, val message: String)
