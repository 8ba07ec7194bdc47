package dev.taskbundler.core.catalogue

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.Progress
import dev.taskbundler.core.formats.Sha256
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.InputStream

private const val CHUNK = 1 shl 18
private const val LONGEST_NAME = 100

/** Of the hash, in a file's name. */
private const val MARK_DIGITS = 12

/** A file name out of what a provider says: the last part of a path, without what file systems dislike, ending in [suffix]. */
internal fun fileName(offered: String, suffix: String): String {
    val last = offered.substringAfterLast('/').substringAfterLast('\\').substringAfterLast(':')
    val clean = last.map { if (it.isISOControl() || it in "\"*<>?|") '_' else it }.joinToString("").trim().trimStart('.')
    val stem = clean.removeSuffix(suffix).take(LONGEST_NAME).ifBlank { "unnamed" }
    return stem + suffix
}

/** [name] with the beginning of the file's [id] in it: engines find what they keep of a model by its file name alone. */
internal fun storedName(name: String, id: String): String = "${name.substringBeforeLast('.')}-${mark(id)}.${name.substringAfterLast('.')}"

/** The name that [stored] was made of; one without the mark is of an earlier version of this app. */
internal fun offeredName(stored: String, id: String): String {
    val stem = stored.substringBeforeLast('.')
    return "${stem.removeSuffix("-${mark(id)}")}.${stored.substringAfterLast('.')}"
}

/** Of a merged copy, a part of both ids. */
private fun mark(id: String) = id.split('-').joinToString("") { it.take(MARK_DIGITS) }

/** Copy what [source] offers to [target] and to the disk; returns its SHA-256. Throws FindingException, CancellationException. */
internal fun copyIn(source: ImportSource, target: File, storage: Storage, progress: Progress, cancel: CancelSignal): String {
    val announced = source.size?.takeIf { it >= 0 }
    val hash = Sha256()
    var copied = 0L
    reading(source) { source.open() }.use { stream ->
        storage.writing(announced ?: 0) {
            FileOutputStream(target).use { output ->
                val chunk = ByteArray(CHUNK)
                while (true) {
                    cancel.check()
                    val count = reading(source) { stream.read(chunk) }
                    if (count < 0) break
                    hash.update(chunk, count)
                    output.write(chunk, 0, count)
                    copied += count
                    progress.at(copied, announced)
                }
                output.fd.sync()
            }
        }
    }
    if (announced != null && copied < announced) {
        refuse(
            FindingCode.APP_SOURCE_ENDED_EARLY,
            "${source.name} ended after $copied of $announced bytes; copy or download it again",
            "found" to copied,
            "expected" to announced,
        )
    }
    return hash.hex()
}

/** Throws FindingException if [sums] lists another hash than [hash] for [name]. */
internal fun checkHash(name: String, hash: String, sums: Sha256Sums?) {
    val listed = sums?.of(name.substringAfterLast('/')) ?: return
    if (listed != hash) {
        refuse(
            FindingCode.APP_HASH_DIFFERS,
            "$name has the SHA-256 ${hash.take(16)}…, SHA256SUMS lists ${listed.take(16)}…; the copy is damaged or of another build: copy it again",
            "found" to hash,
            "expected" to listed,
        )
    }
}

/** Run [read]; whatever a provider throws becomes a finding. */
private fun <T> reading(source: ImportSource, read: () -> T): T = try {
    read()
} catch (error: IOException) {
    sourceFailed(source, error)
} catch (error: SecurityException) {
    sourceFailed(source, error)
} catch (error: IllegalStateException) {
    // Providers of other apps pass on what went wrong in them as such.
    sourceFailed(source, error)
}

private fun sourceFailed(source: ImportSource, error: Exception): Nothing = refuse(
    FindingCode.APP_SOURCE_FAILED,
    "${source.name} cannot be read (${error.message ?: error.javaClass.simpleName}); it may have been moved or its drive removed; choose it again",
    "found" to (error.message ?: error.javaClass.simpleName),
    cause = error,
)
