package dev.taskbundler.core.writing

private const val LINES_LOOKED_AT = 20
private const val USUAL_INDENT = "    "
private val STATEMENT = Regex(
    """\s*(((async )?def|class|fun|fn|func|function|struct|interface) \w+.*|(import|package|using) [\w.]+;?""" +
        """|from [\w.]+ import .*|(val|var|let|const) \w+.*""" +
        """|@\w+.*|#include.*|elif .*|(else|try|finally)\s*:|[\w.\[\]'"]+ ?[-+*/|&]?= ?\S.*)|\s+(return|raise|yield|assert|pass|break|continue)\b.*""",
)
private val BLOCK = Regex("""\s*(def|class|if|elif|else|for|while|try|except|finally|with|async)\b.*:""")
private val GOES_ON = setOf("if", "else", "for", "in", "is", "and", "or", "not", "as", "from", "import", "async", "await", "lambda")
private val ENDS_A_BLOCK = setOf("elif", "else", "except", "finally")
private val STANDS_LIKE_THE_LAST = setOf("def", "class", "import", "from", "@")

/** Whether most of the last lines of [text] look like a program's rather than like prose. */
fun isProgramText(text: CharSequence): Boolean {
    val lines = lastLines(text)
    return lines.isNotEmpty() && lines.count { isProgramLine(it) } * 2 >= lines.size
}

/** A new line and its indent, where [output] cannot stand on the line that [before] ends with; else null. */
internal fun lineBreakInProgram(before: CharSequence, output: CharSequence): String? {
    val line = before.substring(before.lastIndexOf('\n') + 1)
    val isWhole = opensBlock(line) || (line.endsWith(')') && balanced(line) && output.startsWord() && output.firstWord() !in GOES_ON)
    return if (isWhole) "\n" + indentFor("$before\n", output) else null
}

/** The indent of a line that begins with [output], after program text that ends with a line break. */
internal fun indentFor(before: CharSequence, output: CharSequence): String {
    val lines = lastLines(before)
    val previous = lines.lastOrNull() ?: return ""
    val word = if (output.startsWith("@")) "@" else output.firstWord()
    if (word in STANDS_LIKE_THE_LAST && before.endsWith("\n\n")) {
        lines.lastOrNull { it.trimStart().startsWith(word) }?.let { return indentOf(it) }
    }
    val unit = unitOf(lines)
    val indent = indentOf(previous) + if (opensBlock(previous)) unit else ""
    return if (word in ENDS_A_BLOCK || output.startsWith("}")) indent.removeSuffix(unit) else indent
}

private fun isProgramLine(line: String) =
    STATEMENT.matches(line) || BLOCK.matches(line) || line.trimEnd().last() in "{};" || (line.startsWith("  ") && line.endsWith(')'))

private fun lastLines(text: CharSequence): List<String> = text.lines().filter { it.isNotBlank() }.takeLast(LINES_LOOKED_AT)

private fun opensBlock(line: String) = line.trimEnd().let { BLOCK.matches(it) || it.endsWith('{') }

private fun indentOf(line: String) = line.takeWhile { it == ' ' || it == '\t' }

private fun unitOf(lines: List<String>) = lines.map { indentOf(it) }.filter { it.isNotEmpty() }.minByOrNull { it.length } ?: USUAL_INDENT

private fun balanced(line: String) = line.count { it == '(' } == line.count { it == ')' }

private fun CharSequence.startsWord() = firstOrNull()?.let { it.isLetter() || it == '_' || it == '@' } == true

private fun CharSequence.firstWord() = takeWhile { it.isLetterOrDigit() || it == '_' }.toString()
