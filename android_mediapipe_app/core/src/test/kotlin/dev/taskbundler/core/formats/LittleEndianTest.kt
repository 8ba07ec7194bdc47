package dev.taskbundler.core.formats

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Test

class LittleEndianTest {
    private val bytes = byteArrayOf(0, 0x80.toByte(), 0xFF.toByte(), 1, 2, 0xFE.toByte(), 3, 4, 0x85.toByte())

    @Test
    fun `numbers begin with their lowest byte`() {
        assertEquals(0x80, bytes.u8(1))
        assertEquals(0xFF80, bytes.u16(1))
        assertEquals(0x0201FF80, bytes.i32(1))
        assertEquals(-0x017AFBFC.toInt(), byteArrayOf(4, 4, 0x85.toByte(), 0xFE.toByte()).i32(0))
        assertEquals(0x0403FE02L, bytes.u32(4))
        assertEquals(0x0403FE0201FF8000L, bytes.i64(0))
    }

    @Test
    fun `unsigned numbers are never negative`() {
        val ones = ByteArray(8) { -1 }
        assertEquals(0xFFFFFFFFL, ones.u32(0))
        assertEquals(-1, ones.i32(0))
        assertEquals(-1L, ones.i64(0))
        assertEquals(65535, ones.u16(0))
    }

    @Test
    fun `what is put is read again`() {
        val target = ByteArray(8)
        target.putI32(1, -123456789)
        assertEquals(-123456789, target.i32(1))
        target.putF32(3, -1.5f)
        assertEquals(-1.5f, target.f32(3), 0f)
        target.putI16(0, 0x1234)
        assertArrayEquals(byteArrayOf(0x34, 0x12), target.copyOf(2))
    }
}
