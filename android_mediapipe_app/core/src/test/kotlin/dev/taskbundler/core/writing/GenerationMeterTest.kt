package dev.taskbundler.core.writing

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

class GenerationMeterTest {
    private var now = 5_000_000_000L
    private val window = PromptWindow("The", "", 0, 20, true)

    private fun after(millis: Long) {
        now += millis * 1_000_000
    }

    @Test
    fun `first token, speed and context`() {
        val meter = GenerationMeter { now }
        after(150)
        meter.piece("abc")
        repeat(10) {
            after(100)
            meter.piece("d")
        }
        val stats = meter.stats(window, 11, "abcdddddddddd", 512)
        assertEquals(150L, stats.firstTokenMillis)
        assertEquals(10.0, stats.tokensPerSecond!!, 1e-9)
        assertEquals(31, stats.usedTokens)
        assertEquals(1150L, stats.totalMillis)
        assertTrue(stats.exact)
        assertEquals(11, meter.pieces)
        assertEquals(13, meter.characters)
    }

    @Test
    fun `nothing came, nothing is measured`() {
        val meter = GenerationMeter { now }
        after(70)
        meter.piece("")
        val stats = meter.stats(window, 0, "", 512)
        assertNull(stats.firstTokenMillis)
        assertNull(stats.tokensPerSecond)
        assertEquals(70L, meter.silentMillis())
    }

    @Test
    fun `one piece has no speed`() {
        val meter = GenerationMeter { now }
        after(10)
        meter.piece("abcdef")
        assertNull(meter.stats(window, 2, "abcdef", 512).tokensPerSecond)
    }

    @Test
    fun `silence is counted from the last piece`() {
        val meter = GenerationMeter { now }
        after(100)
        meter.piece("a")
        after(30)
        assertEquals(30L, meter.silentMillis())
    }

    @Test
    fun `without an engine's count it is an estimate, and says so`() {
        val meter = GenerationMeter { now }
        assertFalse(meter.stats(window, null, "abcdef", 512).exact)
        assertEquals(3, meter.stats(window, null, "abcdef", 512).outputTokens)
        assertFalse(meter.stats(window.copy(exact = false), 2, "abcdef", 512).exact)
    }

    @Test
    fun `no token after the first piece is no speed, however long it took`() {
        val meter = GenerationMeter { now }
        after(10)
        meter.piece("abc")
        after(10)
        meter.piece("d")
        assertNull(meter.stats(window, 1, "abcd", 512).tokensPerSecond)
    }
}
