package dev.taskbundler.core.findings

import java.io.IOException

/** Work ended by a [finding]; nothing half-done was left. */
class FindingException(val finding: Finding, cause: Throwable? = null) : IOException(finding.message, cause)
