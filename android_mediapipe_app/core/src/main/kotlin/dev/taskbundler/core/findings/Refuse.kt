package dev.taskbundler.core.findings

/** End the work with a finding; see [Finding] for what [message] and [arguments] hold. */
fun refuse(code: FindingCode, message: String, vararg arguments: Pair<String, Any>, cause: Throwable? = null): Nothing =
    throw FindingException(Finding(code, mapOf(*arguments), message), cause)
