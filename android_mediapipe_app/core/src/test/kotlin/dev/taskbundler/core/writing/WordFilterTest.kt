package dev.taskbundler.core.writing

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import kotlin.random.Random

class WordFilterTest {
    private val list = WordList.parse("# mine\nDarn\n  straße \nheck of a\nol'\ncafé\n\n")

    private fun stream(list: WordList, vararg pieces: String, before: String = "") = WordFilter(list, before).let { filter ->
        pieces.map { filter.push(it) } +
            filter.finish()
    }

    @Test
    fun `a list has one entry to a line, without remarks and empty lines`() {
        assertEquals(5, list.size)
        assertTrue(WordList.parse(" \n#x\n--\n").isEmpty)
    }

    @Test
    fun `whole words in any case are replaced`() {
        assertEquals("••• it, ••• it! Darning.", withoutListed("darn it, DARN it! Darning.", list))
        assertEquals("undarn darned", withoutListed("undarn darned", list))
    }

    @Test
    fun `case and accents of any script are compared as Unicode has them`() {
        assertEquals("••• •••", withoutListed("STRASSE Straße", list))
        assertEquals("••• •••", withoutListed("CAFE\u0301 café", list))
        assertEquals("cafe", withoutListed("cafe", list))
        assertEquals("•••", withoutListed("ｄａｒｎ", list))
        assertEquals("это •••!", withoutListed("это ЧЁРТ!", WordList.parse("чёрт")))
    }

    @Test
    fun `a word with invisible characters in it is the same word`() =
        assertEquals("•••", withoutListed("da\u00ADr\u200Bn".replace("\u200B", "\u200D"), list))

    @Test
    fun `a combining mark makes another word`() = assertEquals("darn\u0303", withoutListed("darn\u0303", list))

    @Test
    fun `phrases match over blanks, hyphens and apostrophes, not over other punctuation`() {
        assertEquals("a ••• day", withoutListed("a Heck  of\na day", list))
        assertEquals("•••", withoutListed("heck-of-a", list))
        assertEquals("heck, of a day", withoutListed("heck, of a day", list))
        assertEquals("heck of the day", withoutListed("heck of the day", list))
    }

    @Test
    fun `the longest entry wins`() = assertEquals("••• end", withoutListed("a b c end", WordList.parse("a\na b c\nb")))

    @Test
    fun `the first listed word is told as it was written`() {
        assertEquals("DARN", firstListed("oh DARN it, darn", list))
        assertEquals("heck of a", firstListed("a heck of a day", list))
        assertNull(firstListed("nothing here", list))
        assertNull(firstListed("darn", WordList.EMPTY))
    }

    @Test
    fun `a word split over pieces is held back until it ends`() {
        assertEquals(listOf("oh ", "", "••• it", ""), stream(list, "oh da", "rn", " it ").let { listOf(it[0], it[1], it[2].trimEnd(), it[3]) })
        assertEquals(listOf("", "darning ", "on"), stream(list, "darn", "ing on"))
        assertEquals(listOf("", "•••"), stream(list, "darn"))
    }

    @Test
    fun `the beginning of a phrase is held back, other words are not`() {
        assertEquals(listOf("a ", "", "", "••• x ", "y"), stream(list, "a heck ", "of ", "a", " x y"))
        assertEquals(listOf("a ", "heck of the ", "end"), stream(list, "a heck of ", "the end"))
    }

    @Test
    fun `a word begun in the text before is known`() {
        assertEquals("•••!", stream(list, "rn!", before = "oh da").joinToString(""))
        assertEquals("y x", stream(list, "y x", before = "oh da").joinToString(""))
        assertEquals(" darned", stream(list, " darned", before = "oh da").joinToString(""))
    }

    @Test
    fun `an empty list passes everything on at once`() = assertEquals(listOf("da", "rn", ""), stream(WordList.EMPTY, "da", "rn"))

    @Test
    fun `however the stream is cut, the result is that of the whole text`() {
        val text = "Darn, the café on Straße 5 had a heck of a day; heck of an ol' time, ol’! darn😀darn e\u0301 heck of"
        val random = Random(11)
        val whole = withoutListed(text, list)
        repeat(500) {
            val filter = WordFilter(list)
            val output = StringBuilder()
            var place = 0
            while (place < text.length) {
                val next = nextCutPoint(text, place + random.nextInt(1, 7))
                output.append(filter.push(text.substring(place, next)))
                place = next
            }
            assertEquals(whole, output.append(filter.finish()).toString())
        }
    }

    @Test
    fun `entries of one and of several words are all entries`() {
        assertEquals(1, WordList.parse("a b c").size)
        assertEquals(2, WordList.parse("a\nb # c").size)
        assertFalse(WordList.parse("a").isEmpty)
    }
}
