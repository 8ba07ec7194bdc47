package dev.taskbundler.verify

import dev.taskbundler.core.formats.parseJson
import dev.taskbundler.core.litertlm.tokenCounter
import dev.taskbundler.core.litertlm.tokenEncoder
import java.io.File

/**
 * `TokensMain BUNDLE.litertlm TEXTS.json`: how many tokens the app counts in each text of a JSON list, and which it teaches from, a line of
 * numbers each.
 */
fun main(arguments: Array<String>) {
    val counter = tokenCounter(File(arguments[0]))!!
    val encoder = tokenEncoder(File(arguments[0]))!!
    for (text in parseJson(File(arguments[1]).readBytes()).array!!.map { it.text!! }) {
        println("${counter.count(text)} ${encoder.encode(text)!!.joinToString(" ")}")
    }
}
