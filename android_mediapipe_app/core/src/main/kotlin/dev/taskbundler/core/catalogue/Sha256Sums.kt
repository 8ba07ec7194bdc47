package dev.taskbundler.core.catalogue

/** The hashes of a bundle folder's SHA256SUMS. */
class Sha256Sums {
    /** The SHA-256 (64 small hexadecimal digits) listed for a file of this name in any folder; null if there is none, or several. */
    fun of(name: String): String? = TODO()

    companion object {
        /** Throws FindingException if a line is no hash and name. */
        fun parse(text: String): Sha256Sums = TODO()
    }
}
