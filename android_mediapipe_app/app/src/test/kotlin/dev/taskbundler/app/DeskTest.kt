package dev.taskbundler.app

import dev.taskbundler.app.write.Desk
import dev.taskbundler.app.write.DeskStore
import dev.taskbundler.core.writing.Manuscript
import dev.taskbundler.core.writing.Texts
import dev.taskbundler.core.writing.WrittenText
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.IOException

class DeskTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val texts get() = folder.root.resolve("texts")
    private val draft get() = folder.root.resolve("draft")

    private fun store() = DeskStore(texts, draft)

    private fun files() = texts.list()!!.sorted()

    private fun desk(vararg texts: Pair<Int, String>) = Desk(Texts(texts.map { (id, text) -> WrittenText(id, Manuscript(text)) }))

    @Test
    fun `what is written is read again, with the suggestion in its place`() {
        val inside = Manuscript("a\n1 2\nb", "x y", place = 2)
        val desk = Desk(Texts(listOf(WrittenText(3, inside), WrittenText(1, Manuscript("")), WrittenText(2, Manuscript("é😀", "")))), "b", "a")
        store().write(desk)
        assertEquals(desk, store().read())
        assertEquals(listOf("1", "2", "3", "list"), files())
    }

    @Test
    fun `there is a blank text where there is nothing`() = assertEquals(Desk(), store().read())

    @Test
    fun `the draft of an earlier version becomes the first text`() {
        draft.writeText("b.task\n\n4\nOnce\nupon")
        val read = store().read()
        assertEquals(Desk(Texts().changed(Manuscript("Once", "\nupon")), "b.task", null), read)
        val store = store()
        store.read()
        store.write(read)
        assertFalse(draft.exists())
        assertEquals(read, store().read())
    }

    @Test
    fun `a draft that makes no sense is no text`() {
        draft.writeText("b.task")
        assertEquals(Desk(), store().read())
    }

    @Test
    fun `without its list no text is lost`() {
        store().write(desk(1 to "a", 2 to "b"))
        texts.resolve("list").delete()
        assertEquals(desk(2 to "b", 1 to "a"), store().read())
        texts.resolve("list").writeText("x\n\n7 1 z")
        assertEquals(desk(1 to "a", 2 to "b").copy(bundleId = "x"), store().read())
    }

    @Test
    fun `a file that does not say where its suggestion is, is all text`() {
        store().write(desk(1 to "a"))
        for (content in listOf("Once", "", "1\nOnce", "-1 2\nOnce")) {
            texts.resolve("1").writeText(content)
            assertEquals(content, store().read().texts.open.manuscript.text)
        }
        texts.resolve("1").writeText("2 9\nOnce")
        assertEquals(Manuscript("Once"), store().read().texts.open.manuscript)
    }

    @Test
    fun `only what has changed is written, and what is gone is deleted`() {
        val store = store()
        store.write(desk(1 to "a", 2 to "b"))
        val old = 1_000_000_000_000
        files().forEach { texts.resolve(it).setLastModified(old) }
        store.write(desk(1 to "a", 2 to "B"))
        assertEquals(listOf("2"), files().filter { texts.resolve(it).lastModified() != old })
        store.write(desk(2 to "B"))
        assertEquals(listOf("2", "list"), files())
    }

    @Test
    fun `files of others are left alone`() {
        store().write(desk(1 to "a"))
        texts.resolve("9").mkdir()
        texts.resolve("notes").writeText("mine")
        val store = store()
        assertEquals(desk(1 to "a"), store.read())
        store.write(desk(1 to "b"))
        assertEquals(listOf("1", "9", "list", "notes"), files())
    }

    @Test
    fun `a text that cannot be written stays as it was`() {
        val store = store()
        store.write(desk(1 to "a"))
        // A folder in the place of what is written beside it first.
        File(texts, "1.partial").mkdir()
        File(texts, "1.partial/x").writeText("x")
        assertThrows(IOException::class.java) { store.write(desk(1 to "b")) }
        assertEquals(desk(1 to "a"), store().read())
    }
}
