package dev.taskbundler.core.writing

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test

class ManuscriptTest {
    private val suggested = Manuscript("Once").grown(" upon").grown(" a time")

    @Test
    fun `a suggestion is shown after the text and is no part of it`() {
        assertEquals("Once upon a time", suggested.shown)
        assertEquals("Once", suggested.text)
        assertTrue(suggested.hasSuggestion)
    }

    @Test
    fun `accepted, it is text, and can be taken back`() {
        val accepted = suggested.accepted()
        assertEquals(Manuscript("Once upon a time", "", listOf("Once")), accepted)
        assertEquals(Manuscript("Once"), accepted.undone())
    }

    @Test
    fun `rejected or retried, it leaves the text alone`() {
        assertEquals(Manuscript("Once"), suggested.rejected())
        assertEquals(Manuscript("Once"), suggested.retried())
    }

    @Test
    fun `undo takes the suggestion first, then accepted ones, the latest first`() {
        val twice = suggested.accepted().grown(", there").accepted().grown(" was")
        assertEquals("Once upon a time, there", twice.undone().shown)
        assertEquals("Once upon a time", twice.undone().undone().shown)
        assertEquals("Once", twice.undone().undone().undone().shown)
        assertFalse(twice.undone().undone().undone().canUndo)
        assertEquals(Manuscript("Once"), Manuscript("Once").undone())
    }

    @Test
    fun `typing after a suggestion takes it, without losing a letter`() {
        val edited = suggested.edited("Once upon a time, ")
        assertEquals("Once upon a time, ", edited.text)
        assertEquals("Once", edited.undone().text)
    }

    @Test
    fun `typing without a suggestion is no step, and no change is none`() {
        assertEquals(Manuscript("Onc"), Manuscript("Once").edited("Onc"))
        assertEquals(suggested, suggested.edited("Once upon a time"))
    }

    @Test
    fun `accepting nothing changes nothing`() = assertEquals(Manuscript("Once"), Manuscript("Once").accepted())

    @Test
    fun `a long history forgets its beginning`() {
        val long = (1..60).fold(Manuscript()) { manuscript, _ -> manuscript.grown("x").accepted() }
        assertEquals(Manuscript.MOST_STEPS, long.undo.size)
        assertEquals(10, long.undo.first().length)
    }

    @Test
    fun `there is something to undo with a suggestion, with a step, and not else`() {
        assertTrue(suggested.canUndo)
        assertTrue(suggested.accepted().canUndo)
        assertTrue(suggested.accepted().grown("x").canUndo)
        assertFalse(Manuscript("Once").canUndo)
    }
}
