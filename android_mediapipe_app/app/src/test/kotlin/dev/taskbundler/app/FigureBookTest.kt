package dev.taskbundler.app

import dev.taskbundler.app.figures.FiguresScreen
import dev.taskbundler.app.state.Contents
import dev.taskbundler.core.figures.Figure
import dev.taskbundler.core.figures.ProcessMemory
import dev.taskbundler.core.figures.Work
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class FigureBookTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val bench by lazy {
        Bench(folder.root).also { it.repository.contents = Contents(listOf(bundle("a.task")), listOf(adapter("pirate"))) }
    }
    private val book get() = bench.container.figures
    private var now: ProcessMemory? = null
    private var figures = emptyList<Figure>()
        get() {
            bench.settle()
            return field
        }

    private fun attach() = book.attach { memory, taken ->
        now = memory
        figures = taken
    }

    private fun write() {
        bench.writing.edited("Once")
        bench.writing.complete()
        bench.engine.write(" upon")
        bench.engine.end()
    }

    @Test
    fun `the memory now is measured when the screen is seen`() {
        attach()
        assertNull(now)
        bench.settle()
        assertEquals(bench.memory, now)
    }

    @Test
    fun `opening and writing are noted, each with the memory at its end`() {
        bench.start()
        val opened = bench.memory
        bench.memory = opened.copy(pss = 60)
        write()
        attach()
        assertEquals(listOf(Work.OPEN to opened, Work.WRITE to bench.memory), figures.map { it.work to it.memory })
        assertEquals(listOf("a.task", "a.task"), figures.map { it.bundle })
        assertEquals(bench.shown.figures?.stats, figures.last().stats)
    }

    @Test
    fun `the time of opening is the engine's`() {
        bench.engine.onOpen = { bench.nanos += 900_000_000 }
        bench.start()
        attach()
        assertEquals(listOf(900L), figures.map { it.millis })
    }

    @Test
    fun `a merge and what is written in that voice are kept beside the base's`() {
        bench.start()
        write()
        bench.repository.whileMerging = { bench.nanos += 2_000_000_000 }
        bench.writing.choose("pirate")
        bench.settle()
        write()
        attach()
        val kinds = listOf(Work.OPEN to null, Work.WRITE to null, Work.MERGE to "pirate", Work.OPEN to "pirate", Work.WRITE to "pirate")
        assertEquals(kinds, figures.map { it.work to it.adapter })
        assertEquals(2000L, figures.first { it.work == Work.MERGE }.millis)
    }

    @Test
    fun `teaching is measured before its trainer is closed, and seen at once`() {
        attach()
        val result = book.teaching("a.litertlm") {
            bench.nanos += 3_000_000
            bench.memory = bench.memory.copy(peak = 99)
            "taught"
        }
        bench.memory = bench.memory.copy(peak = 100)
        assertEquals("taught", result)
        assertEquals(listOf(Figure(Work.TEACH, "a.litertlm", null, 3, bench.memory.copy(peak = 99))), figures)
    }

    @Test
    fun `a screen that is not seen is told nothing`() {
        bench.start()
        val screen = FiguresScreen { _, taken -> figures = taken }
        book.attach(screen)
        book.detach(screen)
        write()
        assertEquals(listOf(Work.OPEN), figures.map { it.work })
    }
}
