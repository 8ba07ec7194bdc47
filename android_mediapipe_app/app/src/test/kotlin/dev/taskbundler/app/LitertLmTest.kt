package dev.taskbundler.app

import dev.taskbundler.app.compare.ComparePresenter
import dev.taskbundler.app.settings.Settings
import dev.taskbundler.app.state.Choice
import dev.taskbundler.app.state.Contents
import dev.taskbundler.app.state.Notice
import dev.taskbundler.app.state.cacheOf
import dev.taskbundler.app.state.contextOf
import dev.taskbundler.app.state.engineFor
import dev.taskbundler.app.state.isNative
import dev.taskbundler.app.write.Desk
import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.CacheLength
import dev.taskbundler.core.engine.EngineKind
import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.findings.FindingCode
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

/** What is different for a `.litertlm`: its engine, and that adapters are handed over, never merged. */
class LitertLmTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val misfit = Finding(FindingCode.APP_LITERTLM_WITHOUT_LORA, emptyMap(), "takes none")
    private val bench by lazy {
        Bench(folder.root).apply {
            repository.contents = Contents(
                listOf(litertLm("a.litertlm"), bundle("b.task"), litertLm("c.litertlm", rank = null)),
                listOf(adapter("pirate"), adapter("shout")),
                misfits = mapOf(("pirate" to "c.litertlm") to misfit, ("shout" to "c.litertlm") to misfit, ("shout" to "b.task") to misfit),
            )
        }
    }
    private val writing get() = bench.writing
    private val opened get() = bench.apply { settle() }.engine.opened

    @Test
    fun `it opens with LiteRT-LM, whatever engine the settings name`() {
        bench.start()
        assertEquals(listOf(EngineKind.LITERT_LM to "/models/a.litertlm"), opened.map { it.kind to it.modelPath })
        writing.chooseBundle("b.task")
        assertEquals(EngineKind.MEDIAPIPE, opened.last().kind)
        for (kind in EngineKind.entries) {
            assertEquals(kind, engineFor(bundle("b.task"), Settings(engine = kind)))
            assertEquals(EngineKind.LITERT_LM, engineFor(litertLm("a.litertlm"), Settings(engine = kind)))
        }
    }

    @Test
    fun `a cache that grows is opened for the text at hand, and stays as long as it was`() {
        bench.repository.contents = Contents(listOf(litertLm("a.litertlm", context = 1024, growth = 32)))
        bench.start()
        for (text in listOf("Once", "Once upon a time ".repeat(40), "Once")) {
            writing.edited(text)
            writing.complete()
            bench.engine.write(" more")
            bench.engine.end()
        }
        assertEquals(listOf(256, 416), opened.map { it.contextTokens })
    }

    @Test
    fun `a GPU is given the whole context, and so is whoever has said how long it is`() {
        val growing = litertLm("a.litertlm", context = 1024, growth = 32)
        assertEquals(CacheLength.growing(1024, 32), cacheOf(growing, Settings()))
        assertEquals(CacheLength.fixed(1024), cacheOf(growing, Settings(backend = Backend.GPU)))
        assertEquals(CacheLength.fixed(700), cacheOf(growing, Settings(contextTokens = 700)))
        assertEquals(CacheLength.fixed(256), cacheOf(litertLm("a.litertlm"), Settings()))
    }

    @Test
    fun `adapters are handed over, the base is that of zeros, and the engine stays`() {
        bench.start()
        writing.edited("Once")
        for (adapter in listOf(null, "pirate", "shout", null)) {
            writing.choose(adapter)
            writing.complete()
            bench.engine.end()
        }
        bench.settle()
        assertEquals(listOf("/models/zero", "/models/pirate", "/models/shout", "/models/zero"), bench.engine.adapters)
        assertEquals(listOf(16), opened.single().loraRanks)
        assertTrue(bench.repository.merges.isEmpty())
    }

    @Test
    fun `without inputs for adapters a tap on one says so, and the base stays chosen`() {
        bench.start()
        writing.chooseBundle("c.litertlm")
        assertEquals(listOf(null, "pirate", "shout"), bench.shown.adapters.map { it.id })
        writing.choose("pirate")
        assertEquals(Notice.Found(misfit), bench.shown.notice)
        assertEquals(listOf(true, false, false), bench.shown.adapters.map { it.isChosen })
        writing.edited("Once")
        writing.complete()
        bench.engine.end()
        assertEquals(listOf<String?>(null), bench.engine.adapters)
        assertTrue(opened.last().loraRanks.isEmpty())
    }

    @Test
    fun `an adapter of another rank is told, and not chosen`() {
        val rank = Finding(FindingCode.APP_ADAPTER_RANK_UNSUPPORTED, emptyMap(), "rank")
        bench.repository.contents =
            Contents(listOf(litertLm("a.litertlm")), listOf(adapter("wide", 32)), misfits = mapOf(("wide" to "a.litertlm") to rank))
        bench.start()
        writing.choose("wide")
        assertEquals(Notice.Found(rank), bench.shown.notice)
        assertTrue(bench.shown.adapters.first().isChosen)
    }

    @Test
    fun `a choice kept from before that does not fit is dropped`() {
        bench.desks.write(Desk(bundleId = "c.litertlm", adapterId = "pirate"))
        bench.start()
        assertTrue(bench.shown.adapters.first().isChosen)
        assertEquals("/models/c.litertlm", opened.single().modelPath)
    }

    @Test
    fun `an adapter chosen before goes over to the task, into which it is merged`() {
        bench.start()
        writing.choose("pirate")
        writing.chooseBundle("b.task")
        bench.settle()
        assertEquals(listOf("b.task+pirate"), bench.repository.merges)
    }

    @Test
    fun `a task in LiteRT-LM keeps the way of merging`() {
        bench.container.settings.run { write(read().copy(engine = EngineKind.LITERT_LM, nativeLora = true, backend = Backend.GPU)) }
        bench.start()
        writing.chooseBundle("b.task")
        writing.choose("pirate")
        bench.settle()
        assertEquals(listOf("b.task+pirate"), bench.repository.merges)
        assertTrue(opened.last().loraRanks.isEmpty())
        assertFalse(isNative(Choice(bundle("b.task"), adapter("pirate")), bench.container.settings.read()))
    }

    @Test
    fun `base and adapter are compared on one engine`() {
        bench.start()
        val contents = bench.repository.contents
        ComparePresenter(bench.container).apply { attach { } }.compare("Once", Choice(contents.bundles.first(), contents.adapters.first()), contents)
        bench.engine.end()
        bench.engine.end()
        assertEquals(listOf("/models/zero", "/models/pirate"), bench.engine.adapters)
        assertEquals(1, opened.size)
    }

    @Test
    fun `the context is the file's, or less if the user says so`() {
        assertEquals(256, contextOf(litertLm("a.litertlm"), Settings(contextTokens = 1000)))
        assertEquals(100, contextOf(litertLm("a.litertlm"), Settings(contextTokens = 100)))
        assertEquals(700, contextOf(litertLm("a.litertlm", context = null), Settings(contextTokens = 700)))
    }
}
