package dev.taskbundler.core.formats

import dev.taskbundler.core.file
import org.junit.Assert.assertEquals
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class Sha256Test {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun `the hashes are those of FIPS 180-4's examples`() {
        assertEquals("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", sha256Of(folder.file("abc", "abc".toByteArray())))
        assertEquals("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", sha256Of(folder.file("a", ByteArray(1_000_000) { 97 })))
        assertEquals("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", sha256Of(folder.file("empty", ByteArray(0))))
    }

    @Test
    fun `only the bytes that count are hashed`() {
        val hash = Sha256()
        hash.update("abXX".toByteArray(), 2)
        hash.update("cX".toByteArray(), 1)
        assertEquals("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", hash.hex())
    }
}
