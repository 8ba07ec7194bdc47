package dev.taskbundler.verify

import dev.taskbundler.core.catalogue.Catalogue
import dev.taskbundler.core.catalogue.ImportSource
import dev.taskbundler.core.catalogue.StoredAdapter
import dev.taskbundler.core.catalogue.StoredBundle
import dev.taskbundler.core.findings.FindingException
import java.io.File
import kotlin.system.exitProcess

/**
 * `LitertLmMain STORAGE BUNDLE.litertlm [ADAPTER]…`: the app's import on this machine.
 *
 * Prints a line `key=value` for what the bundle says of itself and for each adapter `fits` or the finding's code. A finding is printed
 * as `code: sentence`, exit code 1.
 */
fun main(arguments: Array<String>) {
    val catalogue = Catalogue(File(arguments[0]))
    try {
        val bundle = catalogue.import(Offered(File(arguments[1]))) as StoredBundle
        println("context=${bundle.context}")
        println("rank=${bundle.litertLm?.lora?.rank}")
        println("fingerprint=${bundle.litertLm?.baseFingerprint}")
        println("zero=${bundle.zeroAdapter}")
        for (path in arguments.drop(2)) {
            val adapter = catalogue.import(Offered(File(path))) as StoredAdapter
            println("${adapter.name}=${catalogue.misfit(adapter, bundle)?.code?.id ?: "fits"}")
        }
    } catch (error: FindingException) {
        System.err.println("${error.finding.code.id}: ${error.message}")
        exitProcess(1)
    }
}

private class Offered(private val file: File) : ImportSource {
    override val name: String = file.name
    override val size = file.length()

    override fun open() = file.inputStream()
}
