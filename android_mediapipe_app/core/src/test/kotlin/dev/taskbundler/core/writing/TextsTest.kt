package dev.taskbundler.core.writing

import org.junit.Assert.assertEquals
import org.junit.Assert.assertSame
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test

class TextsTest {
    private fun texts(vararg shown: String) = Texts(shown.mapIndexed { index, text -> WrittenText(shown.size - index, Manuscript(text)) })

    private fun Texts.shown() = all.map { it.manuscript.shown }

    @Test
    fun `at first there is one, blank, and it is open`() {
        assertTrue(Texts().open.isBlank)
        assertEquals(1, Texts().all.size)
        assertThrows(IllegalArgumentException::class.java) { Texts(emptyList()) }
    }

    @Test
    fun `a change is of the open text alone`() {
        assertEquals(listOf("A", "b"), texts("a", "b").changed(Manuscript("A")).shown())
        val texts = texts("a", "b")
        assertSame(texts, texts.changed(Manuscript("a")))
    }

    @Test
    fun `what is opened comes first, with what can be taken back`() {
        val accepted = Manuscript("Once").grown(" upon").accepted()
        val texts = Texts(listOf(WrittenText(2, Manuscript("other")), WrittenText(1, accepted)))
        assertEquals(listOf(1, 2), texts.opened(1).all.map { it.id })
        assertEquals("Once", texts.opened(1).open.manuscript.undone().text)
        assertSame(texts, texts.opened(7))
    }

    @Test
    fun `a new text is open and has a number of its own`() {
        val added = texts("a", "b").added()
        assertEquals(listOf("", "a", "b"), added.shown())
        assertEquals(3, added.all.map { it.id }.toSet().size)
    }

    @Test
    fun `blank texts do not pile up`() {
        val added = texts("a", "b").added()
        assertSame(added, added.added())
        assertEquals(listOf("b", "a"), added.opened(1).shown())
        // One that was not open is left alone: it is another's to delete.
        assertEquals(listOf("b", "a", " "), texts("a", " ", "b").opened(1).shown())
        // Opened again, it is not thrown away.
        assertEquals(listOf("", "a", "b"), added.opened(added.open.id).shown())
    }

    @Test
    fun `without the open text the one before it is open, and without any a new one`() {
        assertEquals(listOf("b"), texts("a", "b").without(2).shown())
        assertEquals(listOf("a"), texts("a", "b").without(1).shown())
        val none = texts("a").without(1)
        assertEquals(listOf(""), none.shown())
        assertTrue("a number is not used again at once", none.open.id != 1)
    }

    @Test
    fun `a title is the first line that says something`() {
        assertEquals("Once upon", titleOf("\n  \n  Once upon \na time"))
        assertEquals("", titleOf(" \n"))
        assertEquals("a".repeat(60), titleOf("a".repeat(60)))
        assertEquals("a".repeat(60) + "…", titleOf("a".repeat(61)))
        // The halves of a surrogate pair stay together, and what is then all of the line needs no sign.
        assertEquals("a".repeat(59) + "😀", titleOf("a".repeat(59) + "😀"))
        assertEquals("a".repeat(59) + "😀…", titleOf("a".repeat(59) + "😀b"))
    }

    @Test
    fun `a suggestion counts in title and words`() {
        val text = WrittenText(1, Manuscript("Once").grown(" upon a time"))
        assertEquals("Once upon a time", text.title)
        assertEquals(4, text.words)
        assertEquals(0, WrittenText(1, Manuscript(" \n")).words)
    }
}
