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
        assertEquals("Once", suggested.retried().shown)
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

    private val inside = Manuscript("The of France is old.").at(3).grown(" capital")

    @Test
    fun `at the cursor, what is before it is gone on from, and what is behind stays`() {
        assertEquals("The" to " of France is old.", inside.before to inside.after)
        assertEquals("The capital of France is old.", inside.shown)
        assertEquals("The of France is old.", inside.text)
        assertEquals(Manuscript("The capital of France is old.", "", listOf("The of France is old.")), inside.accepted())
        assertEquals("The of France is old.", inside.accepted().undone().shown)
    }

    @Test
    fun `taken back or drawn anew, a suggestion at the cursor leaves the text whole`() {
        assertEquals(Manuscript("The of France is old.", place = 3), inside.undone())
        assertEquals("The city of France is old.", inside.retried().grown(" city").shown)
        assertEquals("The of France is old. Yes.", inside.rejected().at(-1).grown(" Yes.").shown)
    }

    @Test
    fun `typing anywhere takes a suggestion at the cursor`() {
        val typed = inside.edited("The capital of France is old!")
        assertEquals("The capital of France is old!", typed.text)
        assertEquals("The of France is old.", typed.undone().text)
        assertEquals("", inside.retried().edited("The of France is old.x").after)
    }

    @Test
    fun `a cursor that is not within the text means its end`() {
        for (cursor in listOf(-1, 0, 4, 9)) assertEquals(4, Manuscript("Once").at(cursor).place)
        assertEquals(1, Manuscript("Once").at(1).place)
        assertEquals(3, Manuscript("a😀b").at(2).place)
    }

    @Test
    fun `words are parted from those behind the suggestion, at its end`() {
        assertEquals("It is Paris or Rome", Manuscript("It is or Rome").at(6).grown("Paris").ended().shown)
        assertEquals(inside, inside.ended())
        assertEquals("It is Paris.", Manuscript("It is.").at(5).grown(" Paris").ended().shown)
        assertEquals(suggested, suggested.ended())
        assertEquals(Manuscript("ab").at(1), Manuscript("ab").at(1).ended())
    }

    private val third = suggested.retried().grown(" more").retried().grown(" again")

    @Test
    fun `one goes back and forth between the suggestions for a place`() {
        assertEquals("Once more", third.previous().shown)
        assertEquals("Once upon a time", third.previous().previous().shown)
        assertEquals("Once upon a time", third.previous().previous().previous().shown)
        assertEquals(third, third.previous().previous().next().next())
        assertEquals(third, third.next())
        assertEquals("Once", third.previous().text)
    }

    @Test
    fun `another is drawn after all of them, and one that is empty is none`() {
        val fourth = third.previous().previous().retried()
        assertEquals(listOf(" upon a time", " more", " again"), fourth.earlier)
        assertEquals(" again", fourth.previous().suggestion)
        assertEquals(fourth.previous(), fourth.previous().next())
        assertEquals(listOf(" more", " upon a time"), third.previous().previous().run { later.take(1) + suggestion })
    }

    @Test
    fun `the oldest suggestions are forgotten`() {
        val many = (1..15).fold(Manuscript("a")) { manuscript, number -> manuscript.retried().grown(" $number") }
        assertEquals(Manuscript.MOST_SUGGESTIONS - 1, many.earlier.size)
        assertEquals(" 6", many.earlier.first())
    }

    @Test
    fun `for another text or place there are none`() {
        for (other in listOf(third.accepted(), third.rejected(), third.undone(), third.edited("Twice"), third.rejected().at(1))) {
            assertEquals(other, other.previous())
            assertEquals(other, other.next())
        }
    }
}
