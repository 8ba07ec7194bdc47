package dev.taskbundler.screens

import org.junit.internal.TextListener
import org.junit.runner.Description
import org.junit.runner.JUnitCore
import org.junit.runner.Request
import org.junit.runner.notification.Failure
import org.junit.runner.notification.RunListener
import kotlin.system.exitProcess

/** `Run CLASS[#TEST]…`: like JUnit's own program, which runs whole classes only. Exit code 1 if a test fails. */
fun main(arguments: Array<String>) {
    val runner = JUnitCore().apply { addListener(TextListener(System.out)) }
    // JUnit tells them at the end, which may be minutes away.
    runner.addListener(
        object : RunListener() {
            override fun testFailure(failure: Failure) = println("\n${failure.description}: ${failure.exception}")

            private var began = 0L

            override fun testStarted(description: Description) {
                began = System.nanoTime()
            }

            override fun testFinished(description: Description) = println(" %.1f s  $description".format((System.nanoTime() - began) / 1e9))
        },
    )
    val results = arguments.map { argument ->
        val type = Class.forName(argument.substringBefore('#'))
        runner.run(if ('#' in argument) Request.method(type, argument.substringAfter('#')) else Request.aClass(type))
    }
    // Threads of the app's, such as one that copies a file without an end, would keep the process alive.
    exitProcess(if (results.all { it.wasSuccessful() }) 0 else 1)
}
