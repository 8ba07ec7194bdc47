package dev.taskbundler.core.formats

import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import java.util.concurrent.CancellationException

class CancelSignalTest {
    @Test
    fun `work goes on until it is asked to stop`() {
        val signal = CancelSignal()
        signal.check()
        assertFalse(signal.isCancelled)
        signal.cancel()
        assertTrue(signal.isCancelled)
        assertThrows(CancellationException::class.java) { signal.check() }
    }
}
