package dev.taskbundler.core.writing

import org.junit.Assert.assertEquals
import org.junit.Test

class LeadingSpaceTest {
    private fun after(before: String, vararg pieces: String, stripped: Boolean = true): String {
        val heldBack = before.substring(before.trimEnd(' ', '\t').length)
        val stage = LeadingSpace(before, heldBack, stripped)
        return before + pieces.joinToString("") { stage.push(it) } + stage.finish()
    }

    @Test
    fun `a word after a word gets its space back`() = assertEquals("The capital of France is Paris", after("The capital of France is", "Paris"))

    @Test
    fun `a word in several pieces is one word`() = assertEquals("France is Paris, and", after("France is", "Par", "is", ", and"))

    @Test
    fun `the space that the writer typed is enough`() = assertEquals("France is Paris", after("France is ", "Paris"))

    @Test
    fun `words and punctuation`() {
        val cases = listOf(
            "Hello" to ", world", "It ends" to ".", "Really" to "?!", "(a note" to ")", "100" to "%",
            "It" to "'s", "they" to "’re", "He said \"yes" to "\" and", "(" to "see", "“" to "Quoted", "either/" to "or", "well-" to "known",
            "#" to "tag",
        )
        for ((before, output) in cases) assertEquals(before + output, after(before, output))
        val spaced = listOf(
            "Hello," to "world", "It ends." to "Then", "He said:" to "no", "a" to "(note)", "a word" to "\"quoted\"", "He said \"yes\"" to "and",
            "the" to "'quoted'", "dash –" to "word", "costs" to "$5", "in" to "1984", "1984" to "was",
        )
        for ((before, output) in spaced) assertEquals("$before $output", after(before, output))
    }

    @Test
    fun `numbers go on`() {
        assertEquals("in 1984", after("in 19", "84"))
        assertEquals("pi is 3.14", after("pi is 3.", "14"))
        assertEquals("at 12:30", after("at 12:", "30"))
        assertEquals("the 19th", after("the 19", "th"))
        assertEquals("I have 2 dogs", after("I have 2", "dogs"))
    }

    @Test
    fun `a word that the text knows is completed`() {
        assertEquals("Lisbon is old. I like Lisbon", after("Lisbon is old. I like Lisb", "on"))
        assertEquals("On and on. He went on on", after("On and on. He went on", "on"))
        assertEquals("an island is land", after("an island is", "land"))
    }

    @Test
    fun `scripts that part no words get no space`() {
        assertEquals("东京是日本", after("东京是", "日本"))
        assertEquals("東京は日本", after("東京は", "日本"))
        assertEquals("กรุงเทพ", after("กรุง", "เทพ"))
        assertEquals("Москва и Париж", after("Москва и", "Париж"))
    }

    @Test
    fun `after a line break prose begins at once`() = assertEquals("First line.\nSecond", after("First line.\n", "Second"))

    @Test
    fun `a line of a program that opens a block is followed by a deeper line`() {
        assertEquals("def area(r):\n    return r", after("def area(r):", "return r"))
        assertEquals("class A:\n  def f(self):\n    pass", after("class A:\n  def f(self):", "pass"))
        assertEquals("def f(x):\n    if x:\n        return", after("def f(x):\n    if x:\n", "return"))
    }

    @Test
    fun `other lines of a program keep the indent, or lose one`() {
        assertEquals("def f(x):\n    y = g(x)\n    return y", after("def f(x):\n    y = g(x)", "return y"))
        assertEquals("def f(x):\n    y = 1\n    return", after("def f(x):\n    y = 1\n", "return"))
        assertEquals("def f(x):\n    if x:\n        y = 1\n    else:", after("def f(x):\n    if x:\n        y = 1\n", "else:"))
        assertEquals("def f(x):\n    return 1\n\ndef g", after("def f(x):\n    return 1\n\n", "def g"))
        assertEquals("fun f() {\n    x = 1;\n}", after("fun f() {\n    x = 1;\n", "}"))
    }

    @Test
    fun `within a line of a program brackets and dots touch`() {
        assertEquals("x = f(1)", after("x = f", "(1)"))
        assertEquals("x = self.name", after("x = self.", "name"))
        assertEquals("x = f(1) if y", after("x = f(1)", "if y"))
        assertEquals("x = y", after("x =", "y"))
    }

    @Test
    fun `an engine that strips nothing is taken at its word`() {
        assertEquals("The cap" + "ital", after("The cap", "ital", stripped = false))
        assertEquals("is Paris", after("is", " Par", "is", stripped = false))
        assertEquals("def f():\n    return", after("def f():", "\n", "    return", stripped = false))
    }

    @Test
    fun `blanks held back from the prompt are not doubled`() {
        assertEquals("is Paris", after("is ", " Paris", stripped = false))
        assertEquals("is Paris", after("is ", " ", "Paris", stripped = false))
        assertEquals("def f():\n    return", after("def f():\n    ", "  ", "  return", stripped = false))
        assertEquals("is \nParis", after("is ", "\nParis", stripped = false))
        assertEquals("is, well", after("is", ", well", stripped = false))
    }

    @Test
    fun `nothing written is nothing added`() {
        assertEquals("is", after("is", "", ""))
        assertEquals("is", after("is"))
        assertEquals("is", after("is", "", stripped = false))
    }

    @Test
    fun `an empty text takes the output as it is`() = assertEquals("Once upon", after("", "Once upon"))

    @Test
    fun `a fragment is completed unless it is a word of its own in the text`() {
        assertEquals("Lisbon. I like Lisbon", after("Lisbon. I like Lis", "bon"))
        assertEquals("The artist likes art. This art ist", after("The artist likes art. This art", "ist"))
        assertEquals("LISBON. I like Lisbon", after("LISBON. I like Lisb", "on"))
    }

    @Test
    fun `quotation marks are counted in their paragraph`() {
        assertEquals("\"a\" and \"b\"", after("\"a\" and \"b", "\""))
        assertEquals("say \"a\" \"b", after("say \"a\"", "\"b"))
        assertEquals("\"open\nthen \"b", after("\"open\nthen", "\"b"))
        assertEquals("it's 'b", after("it's", "'b"))
        assertEquals("say 'it's b'", after("say 'it's b", "'"))
    }

    @Test
    fun `a point alone is no number`() {
        assertEquals(". 5", after(".", "5"))
        assertEquals("a. 5", after("a.", "5"))
    }

    @Test
    fun `a whole call is followed by a new line before a name, not before an operator`() {
        assertEquals("x = f(1)\n_y", after("x = f(1)", "_y"))
        assertEquals("x = f(1)\n@cached", after("x = f(1)", "@cached"))
        assertEquals("x = f(1) + 2", after("x = f(1)", "+ 2"))
        assertEquals("x = f((1) and", after("x = f((1)", "and"))
    }

    @Test
    fun `dashes touch, or stand alone`() {
        assertEquals("well—known", after("well—", "known"))
        assertEquals("well—known", after("well", "—known"))
        assertEquals("wait – no", after("wait –", "no"))
    }

    @Test
    fun `only as many blanks are dropped as were held back`() {
        assertEquals("is  x", after("is ", "  x", stripped = false))
        assertEquals("is   x", after("is  ", " ", "  x", stripped = false))
        assertEquals("is x y", after("is ", "x", " y", stripped = false))
    }

    @Test
    fun `a first word is waited for until it ends, or is long`() {
        assertEquals("", LeadingSpace("is", "", true).push("a".repeat(11)))
        assertEquals(" " + "a".repeat(12), LeadingSpace("is", "", true).push("a".repeat(12)))
        assertEquals(", ", LeadingSpace("is", "", true).push(", "))
    }
}
