package dev.taskbundler.core.engine

import org.junit.Assert.assertEquals
import org.junit.Test

class CacheLengthTest {
    @Test
    fun `one that grows begins small, at a multiple of its step`() {
        assertEquals(256, CacheLength.growing(1024, 32).tokens)
        assertEquals(264, CacheLength.growing(1024, 24).tokens)
        assertEquals(96, CacheLength.growing(96, 32).tokens)
    }

    @Test
    fun `it grows by a half at least, and never beyond the model`() {
        val first = CacheLength.growing(1024, 32)
        assertEquals(256, first.holding(256).tokens)
        assertEquals(384, first.holding(257).tokens)
        assertEquals(608, first.holding(600).tokens)
        assertEquals(1024, first.holding(5000).tokens)
        assertEquals(1024, first.holding(1000).tokens)
    }

    @Test
    fun `one of a fixed length stays`() = assertEquals(512, CacheLength.fixed(512).holding(5000).tokens)
}
