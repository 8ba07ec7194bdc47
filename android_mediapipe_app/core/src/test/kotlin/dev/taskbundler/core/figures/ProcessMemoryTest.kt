package dev.taskbundler.core.figures

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.RandomAccessFile
import java.nio.channels.FileChannel

private const val STATUS = """Name:	askbundler.app
VmPeak:	 5242880 kB
VmHWM:	  312000 kB
VmRSS:	  298000 kB
RssAnon:	  120000 kB"""

// In the form of proc(5), with the names that Android gives its mappings.
private const val SMAPS = """7a10000000-7a18000000 r--p 00004000 fd:2c 12345                          /data/data/dev.taskbundler.app/files/models/bundles/a b.litertlm
Size:             131072 kB
Rss:               90000 kB
Pss:               90000 kB
AnonHugePages:         0 kB
VmFlags: rd mr mw me
7a20000000-7a20100000 rw-p 00000000 00:00 0                              [anon:scudo:primary]
Size:               1024 kB
Rss:                 700 kB
7a30000000-7a30001000 r--p 00000000 fd:2c 99                             /data/app/base.apk
Rss:                   4 kB
7a40000000-7a40001000 rw-p 00000000 00:00 0
Rss:                   8 kB
7a50000000-7a50100000 r--s 00000000 fd:2c 12399                          /data/data/dev.taskbundler.app/cache/engines/x.cache (deleted)
Size:               1024 kB
Rss:                1000 kB"""

class ProcessMemoryTest {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun `a line of the status says kibibytes`() {
        assertEquals(298_000L * 1024, statusBytes(STATUS.lineSequence(), "VmRSS"))
        assertEquals(312_000L * 1024, statusBytes(STATUS.lineSequence(), "VmHWM"))
        assertEquals(0L, statusBytes(STATUS.lineSequence(), "VmSwap"))
    }

    @Test
    fun `of the mappings those of the files asked for are counted`() {
        assertEquals(90_000L * 1024, mappedBytes(SMAPS.lineSequence()) { "/files/models/" in it })
        assertEquals(91_000L * 1024, mappedBytes(SMAPS.lineSequence()) { "/dev.taskbundler.app/" in it })
        assertEquals(91_712L * 1024, mappedBytes(SMAPS.lineSequence()) { true })
        assertEquals(8L * 1024, mappedBytes(SMAPS.lineSequence()) { it.isEmpty() })
        assertEquals(0L, mappedBytes(emptySequence()) { true })
    }

    @Test
    fun `Linux tells the pages of a mapped file that were read`() {
        val smaps = File("/proc/self/smaps")
        assumeTrue("there is no /proc here", smaps.exists())
        val file = folder.newFile("model with a name")
        val page = 4096L
        file.writeBytes(ByteArray(64 * page.toInt()))
        fun mapped() = smaps.useLines { lines -> mappedBytes(lines) { it == file.path } }
        assertEquals(0L, mapped())
        RandomAccessFile(file, "r").use { access ->
            val buffer = access.channel.map(FileChannel.MapMode.READ_ONLY, 0, file.length())
            for (at in 0 until file.length().toInt() step page.toInt()) buffer.get(at)
            assertEquals(file.length(), mapped())
        }
        val status = File("/proc/self/status").readLines()
        val resident = statusBytes(status.asSequence(), "VmRSS")
        assertTrue("$resident", resident in (1L shl 20)..statusBytes(status.asSequence(), "VmHWM"))
    }
}
