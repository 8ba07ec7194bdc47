package dev.taskbundler.core.catalogue

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.assertRefused
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test

class Sha256SumsTest {
    private val one = "1".repeat(64)
    private val other = "ab".repeat(32)

    @Test
    fun `files are found by name, in any folder`() {
        val sums = Sha256Sums.parse("$one  adapters/pirate.tflite\n${other.uppercase()} *base.task\r\n\n")
        assertEquals(one, sums.of("pirate.tflite"))
        assertEquals(other, sums.of("base.task"))
        assertNull(sums.of("pirate"))
        assertNull(sums.of("adapters"))
    }

    @Test
    fun `lines that begin with a number sign are comments`() {
        val sums = Sha256Sums.parse("# written by hand\n$one  base.task\n#$other  base.task\r\n# $other  other.task\n")
        assertEquals(one, sums.of("base.task"))
        assertNull(sums.of("other.task"))
        assertRefused(FindingCode.APP_SUMS_UNREADABLE) { Sha256Sums.parse(" # $one  base.task") }
    }

    @Test
    fun `a name that stands for several files has no hash, unless they are the same`() {
        assertNull(Sha256Sums.parse("$one  a/x\n$other  b/x\n").of("x"))
        assertEquals(one, Sha256Sums.parse("$one  a/x\n$one  b/x\n").of("x"))
    }

    @Test
    fun `what is no list of hashes is refused`() {
        for (text in listOf("hello", "${one.drop(1)}  x", "$one x", "$one  ", "<html>", "${one}g  x")) {
            assertRefused(FindingCode.APP_SUMS_UNREADABLE) { Sha256Sums.parse(text) }
        }
        assertNull(Sha256Sums.parse("").of("x"))
    }
}
