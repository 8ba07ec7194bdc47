package dev.taskbundler.core.formats

import java.io.File
import java.security.MessageDigest

private const val CHUNK = 1 shl 18

/** A SHA-256 that grows with what is written. */
class Sha256 {
    private val digest = MessageDigest.getInstance("SHA-256")

    fun update(bytes: ByteArray, count: Int) = digest.update(bytes, 0, count)

    /** 64 hexadecimal digits, small letters. To be asked for once. */
    fun hex(): String = digest.digest().joinToString("") { (it.toInt() and 0xFF).toString(16).padStart(2, '0') }
}

/** SHA-256 of a file. Throws IOException if it cannot be read. */
fun sha256Of(file: File): String = file.inputStream().use { stream ->
    val hash = Sha256()
    val chunk = ByteArray(CHUNK)
    while (true) {
        val count = stream.read(chunk)
        if (count < 0) break
        hash.update(chunk, count)
    }
    hash.hex()
}
