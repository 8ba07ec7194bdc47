package dev.taskbundler.app

import dev.taskbundler.app.report.breakable
import org.junit.Assert.assertEquals
import org.junit.Test

class BreakableTest {
    @Test
    fun `a line may end within the name of a file`() =
        assertEquals("sample-124M-\u200Bint8.\u200Blitertlm is open", breakable("sample-124M-int8.litertlm is open"))

    @Test
    fun `numbers and sentences stay as they are`() = "16.38 kB. It is 1-2 minutes - or 3.".let { assertEquals(it, breakable(it)) }
}
