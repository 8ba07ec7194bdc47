package dev.taskbundler.verify

import dev.taskbundler.core.formats.parseJson
import dev.taskbundler.core.litertlm.tokenCounter
import java.io.File

/** `TokensMain BUNDLE.litertlm TEXTS.json`: how many tokens the app counts in each text of a JSON list, a line each. */
fun main(arguments: Array<String>) {
    val counter = tokenCounter(File(arguments[0]))!!
    for (text in parseJson(File(arguments[1]).readBytes()).array!!) println(counter.count(text.text!!))
}
