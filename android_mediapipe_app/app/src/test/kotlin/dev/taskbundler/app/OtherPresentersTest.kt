package dev.taskbundler.app

import dev.taskbundler.app.compare.CompareModel
import dev.taskbundler.app.compare.ComparePresenter
import dev.taskbundler.app.library.LibraryModel
import dev.taskbundler.app.library.LibraryPresenter
import dev.taskbundler.app.report.EventLog
import dev.taskbundler.app.settings.NumberField
import dev.taskbundler.app.settings.Settings
import dev.taskbundler.app.settings.SettingsStore
import dev.taskbundler.app.settings.numbers
import dev.taskbundler.app.settings.parseNumber
import dev.taskbundler.app.settings.with
import dev.taskbundler.app.state.Choice
import dev.taskbundler.app.state.Contents
import dev.taskbundler.app.state.Notice
import dev.taskbundler.app.state.contextOf
import dev.taskbundler.app.state.requestFor
import dev.taskbundler.app.write.speakable
import dev.taskbundler.core.catalogue.ImportSource
import dev.taskbundler.core.catalogue.MergedCopy
import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.EngineKind
import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.FindingException
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.IOException

class OtherPresentersTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val bench by lazy {
        Bench(folder.root).apply { repository.contents = Contents(listOf(bundle("a.task")), listOf(adapter("pirate"))) }.start()
    }
    private var library = LibraryModel()
        get() {
            bench.settle()
            return field
        }
    private var compared = CompareModel()
        get() {
            bench.settle()
            return field
        }
    private val libraryPresenter by lazy { LibraryPresenter(bench.container, bench.writing).apply { attach { library = it } } }
    private val comparing by lazy { ComparePresenter(bench.container).apply { attach { compared = it } } }

    private class Source(override val name: String, private val content: String? = null) : ImportSource {
        override val size = 100L

        override fun open() = content?.byteInputStream() ?: throw IOException("not opened here")
    }

    @Test
    fun `an imported bundle is listed, told and offered for writing`() {
        libraryPresenter.import(listOf(Source("b.task")))
        assertEquals("b.task", (library.notice as Notice.Imported).item.name)
        assertFalse(library.isImporting)
        assertEquals(2, library.contents.bundles.size)
        assertEquals(listOf("a.task", "b.task"), bench.shown.bundles.map { it.name })
    }

    @Test
    fun `of several files each is held to the hashes that came with them`() {
        val sums = Source("SHA256SUMS", "${"a".repeat(64)}  c.task\n")
        libraryPresenter.import(listOf(Source("c.task"), sums, Source("manifest.json"), Source("d.task")))
        assertEquals("d.task", (library.notice as Notice.Imported).item.name)
        assertEquals(listOf("a".repeat(64), null), bench.repository.hashes)
        libraryPresenter.import(listOf(Source("e.task"), Source("SHA256SUMS", "no hash")))
        assertEquals(FindingCode.APP_SUMS_UNREADABLE, (library.notice as Notice.Found).finding.code)
        assertEquals(2, bench.repository.hashes.size)
    }

    @Test
    fun `what is wrong with a file is told in the finding's words, what is unexpected as such`() {
        bench.repository.importFailure = FindingException(Finding(FindingCode.FILE_TRUNCATED, emptyMap(), "short"))
        libraryPresenter.import(listOf(Source("b.task")))
        assertEquals(FindingCode.FILE_TRUNCATED, (library.notice as Notice.Found).finding.code)
        bench.repository.importFailure = SecurityException("permission revoked")
        libraryPresenter.import(listOf(Source("b.task")))
        assertTrue(library.notice is Notice.Unexpected)
        assertFalse(library.isImporting)
    }

    @Test
    fun `deleting closes the engine first`() {
        val item = bench.repository.contents.bundles.single()
        libraryPresenter.delete(item)
        bench.settle()
        assertEquals(listOf(item), bench.repository.deleted)
        assertEquals(Notice.Deleted("a.task"), library.notice)
    }

    @Test
    fun `what goes with a deletion is counted`() {
        val bundle = bundle("a.task")
        val copy = MergedCopy("m", "m", File("m"), 990, "a.task", "pirate")
        val contents = Contents(listOf(bundle), listOf(adapter("pirate")), listOf(copy))
        assertEquals(1990, contents.bytesFreedBy(bundle))
        assertEquals(1090, contents.bytesFreedBy(contents.adapters.single()))
        assertEquals(990, contents.bytesFreedBy(copy))
    }

    @Test
    fun `base and adapter write on the same text with the same seed, one after the other`() {
        val contents = bench.repository.contents
        comparing.compare("Once", Choice(contents.bundles.single(), contents.adapters.single()), contents)
        assertEquals(0, compared.running)
        bench.engine.write(" upon")
        bench.engine.end()
        assertEquals(1, compared.running)
        bench.engine.write(" arr")
        bench.engine.end()
        assertEquals(" upon" to " arr", compared.base.text to compared.adapted.text)
        assertNull(compared.running)
        assertEquals(listOf("Once", "Once"), bench.engine.prompts)
        assertEquals(1, bench.engine.samplings.toSet().size)
        assertEquals(1, bench.repository.merges.size)
        assertEquals("", bench.shown.manuscript.shown)
    }

    @Test
    fun `a stopped comparison does not begin the second text`() {
        val contents = bench.repository.contents
        comparing.compare("Once", Choice(contents.bundles.single(), contents.adapters.single()), contents)
        comparing.stop()
        bench.engine.end()
        assertEquals(1, bench.engine.prompts.size)
        assertEquals(Notice.Cancelled, compared.notice)
    }

    @Test
    fun `a comparison that cannot go on says why`() {
        val contents = bench.repository.contents
        bench.repository.mergeFailure = FindingException(Finding(FindingCode.APP_STORAGE_FULL, emptyMap(), "no room"))
        comparing.compare("Once", Choice(contents.bundles.single(), contents.adapters.single()), contents)
        bench.engine.end()
        assertEquals(FindingCode.APP_STORAGE_FULL, (compared.notice as Notice.Found).finding.code)
        comparing.compare("", Choice(contents.bundles.single(), contents.adapters.single()), contents)
        assertTrue(compared.notice is Notice.Refused)
        assertNull(compared.running)
    }

    @Test
    fun `settings are kept, and what makes no sense becomes the usual`() {
        val settings = Settings(EngineKind.LITERT_LM, Backend.GPU, 512, 30, 20, 5, 0.5, 0.0, 42, true, "darn\nheck")
        val store = SettingsStore(bench.values)
        store.write(settings)
        assertEquals(settings, store.read())
        bench.values.map += mapOf("engine" to "ABACUS", "topK" to "-1", "temperature" to "warm")
        assertEquals(settings.copy(engine = EngineKind.MEDIAPIPE, topK = 40, temperature = 0.8), store.read())
    }

    @Test
    fun `numbers are taken with a comma, and refused out of their range`() {
        assertEquals(0.5, parseNumber(NumberField.TOP_P, " 0,5 ")!!, 0.0)
        for ((field, text) in listOf(NumberField.TOP_P to "1.1", NumberField.TOP_K to "0", NumberField.TOP_K to "2.5", NumberField.SEED to "")) {
            assertNull("$field $text", parseNumber(field, text))
        }
        val (changed, wrong) = Settings().with(mapOf(NumberField.TOP_K to "7", NumberField.TEMPERATURE to "hot"))
        assertEquals(Settings(topK = 7) to setOf(NumberField.TEMPERATURE), changed to wrong)
        assertEquals(Settings(), Settings().with(Settings().numbers()).first)
    }

    @Test
    fun `the context is the bundle's, or less if the user says so`() {
        assertEquals(256, contextOf(bundle("a", 256), Settings()))
        assertEquals(128, contextOf(bundle("a", 256), Settings(contextTokens = 128)))
        assertEquals(256, contextOf(bundle("a", 256), Settings(contextTokens = 4096)))
        assertEquals(512, contextOf(bundle("a", null), Settings()))
    }

    @Test
    fun `half of the context is for the text, and a suggestion has room in the rest`() {
        val request = requestFor(Choice(bundle("a", 64), null), Settings(suggestionTokens = 100), "Once", 2)
        assertEquals(32 to 32, request.windowTokens to request.outputTokens)
        assertEquals(2, request.sampling.seed)
    }

    @Test
    fun `the log keeps the newest`() {
        val log = EventLog(folder.root.resolve("log2"), millis = { 7 })
        repeat(3000) { log.add("line $it\nof two") }
        assertTrue(log.text().length <= EventLog.MOST_BYTES + 100)
        assertTrue(log.text().endsWith("7 line 2999 of two\n"))
        EventLog(folder.root).add("into a folder")
    }

    @Test
    fun `only whole sentences are spoken while more is coming`() {
        assertEquals("It rained.", speakable("It rained. And th"))
        assertEquals("", speakable("And th"))
    }
}
