package dev.taskbundler.core.catalogue

import java.io.IOException
import java.io.InputStream

/** A file that someone offers: a document of the system's picker, a download, a file. */
interface ImportSource {
    /** What the provider calls it; only its last part is used, and not trusted. */
    val name: String

    /** In bytes, or null where the provider does not say. Not trusted. */
    val size: Long?

    /** The content from its first byte; whoever calls this closes it. */
    @Throws(IOException::class)
    fun open(): InputStream
}
