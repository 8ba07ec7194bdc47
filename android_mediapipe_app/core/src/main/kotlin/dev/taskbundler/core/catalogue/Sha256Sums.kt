package dev.taskbundler.core.catalogue

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse

/** The hashes of a bundle folder's SHA256SUMS: [listed] is path -> SHA-256 in small letters. */
class Sha256Sums private constructor(private val listed: Map<String, String>) {
    /** The SHA-256 listed for a file of this name, in whatever folder; null if there is none, or several that differ. */
    fun of(name: String): String? = listed.filterKeys { it.substringAfterLast('/') == name }.values.toSet().singleOrNull()

    companion object {
        /** A hash, a space, a space or a star, a path: what sha256sum writes. */
        private val LINE = Regex("([0-9a-fA-F]{64}) [ *](.+)")

        /** Throws FindingException if a line is something else. A line that begins with # is a comment, as for sha256sum. */
        fun parse(text: String): Sha256Sums = Sha256Sums(
            text.lineSequence().filter { it.isNotBlank() && !it.startsWith("#") }.associate { line ->
                val (hash, path) = LINE.matchEntire(line.trimEnd())?.destructured ?: refuse(
                    FindingCode.APP_SUMS_UNREADABLE,
                    "SHA256SUMS has the line \"${line.take(80)}\"; expected a hash and a name; copy it again from the bundle's folder",
                )
                path to hash.lowercase()
            },
        )
    }
}
