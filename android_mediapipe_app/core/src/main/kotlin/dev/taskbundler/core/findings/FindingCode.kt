package dev.taskbundler.core.findings

/** What can be wrong, by the codes of docs/FINDINGS.md. */
enum class FindingCode(val id: String)
