package dev.taskbundler.verify

import org.junit.runner.JUnitCore
import org.junit.runner.Request
import org.junit.runner.notification.Failure
import org.junit.runner.notification.RunListener
import org.junit.runner.notification.RunNotifier
import org.junit.runner.notification.StoppedByUserException
import org.objectweb.asm.ClassReader
import org.objectweb.asm.ClassVisitor
import org.objectweb.asm.Opcodes
import java.io.File
import java.util.Random
import kotlin.system.exitProcess

/** What takes so many times as long as the tests of unbroken classes does not end. */
private const val PATIENCE = 4

/**
 * `MutationMain SOURCES MAIN_CLASSES TEST_CLASSES PACKAGE,… COUNT SEED CLASS…`: break COUNT places of the packages, one at a time, and see
 * whether the tests notice.
 *
 * Prints `mutations COUNT of ALL`, and `survived PLACE` for each that no test noticed. Ends with 1 if a test fails before anything is broken.
 */
@Suppress("DEPRECATION")
fun main(arguments: Array<String>) {
    val (sources, main, test) = arguments.take(3).map { File(it) }
    val packages = arguments[3].split(',')
    val random = Random(arguments[5].toLong())
    val tests = arguments.drop(6)
    val all = main.walk().filter { it.extension == "class" && it.parentFile.name in packages }.sorted().toList().flatMap { file ->
        linesOf(file, sources)?.let { mutationsOf(file.readBytes(), it) }.orEmpty()
    }
    val chosen = all.shuffled(random).take(arguments[4].toInt())
    val began = System.nanoTime()
    if (isNoticed(tests, MutatedLoader(main, test, "", ByteArray(0)))) {
        println("a test fails before anything is broken")
        exitProcess(1)
    }
    val patience = PATIENCE * (System.nanoTime() - began) / 1_000_000
    println("mutations ${chosen.size} of ${all.size}")
    for (mutation in chosen) {
        val file = File(main, "${mutation.className}.class")
        val bytes = mutated(file.readBytes(), linesOf(file, sources)!!, mutation)
        var noticed = true
        val worker = Thread { noticed = isNoticed(tests, MutatedLoader(main, test, mutation.className, bytes)) }.apply { isDaemon = true }
        worker.start()
        worker.join(patience)
        if (worker.isAlive) worker.stop()
        if (!noticed) println("survived $mutation")
    }
    exitProcess(0)
}

/** Tests of the same package are likely to notice, so they come first. */
private fun isNoticed(tests: List<String>, loader: MutatedLoader): Boolean = tests
    .sortedByDescending { it.substringBeforeLast('.') == loader.mutated.replace('/', '.').substringBeforeLast('.') }
    .any { name ->
        try {
            fails(loader.loadClass(name))
        } catch (_: Throwable) {
            true
        }
    }

/** Runs the tests of a class up to the first that fails. */
private fun fails(tests: Class<*>): Boolean {
    var failed = false
    val notifier = RunNotifier()
    notifier.addListener(
        object : RunListener() {
            override fun testFailure(failure: Failure) {
                failed = true
                notifier.pleaseStop()
            }
        },
    )
    try {
        Request.aClass(tests).runner.run(notifier)
    } catch (_: StoppedByUserException) {
        // Asked for by the listener.
    }
    return failed
}

private val LINES = HashMap<String, Int?>()

/** How many lines the source of a class file has; null if it is not one of [sources]. */
private fun linesOf(file: File, sources: File): Int? = LINES.getOrPut(file.path) {
    var name: String? = null
    ClassReader(file.readBytes()).accept(
        object : ClassVisitor(Opcodes.ASM9) {
            override fun visit(version: Int, access: Int, className: String, signature: String?, superName: String?, interfaces: Array<out String>?) {
                name = className.substringBeforeLast('/')
            }

            override fun visitSource(source: String?, debug: String?) {
                name += "/$source"
            }
        },
        0,
    )
    File(sources, name.orEmpty()).takeIf { it.isFile }?.useLines { it.count() }
}

/** Loads the classes of two folders itself, the one called [mutated] from [bytes]; all others come from the application's loader. */
private class MutatedLoader(private val main: File, private val test: File, val mutated: String, private val bytes: ByteArray) :
    ClassLoader(JUnitCore::class.java.classLoader) {
    override fun loadClass(name: String, resolve: Boolean): Class<*> = synchronized(getClassLoadingLock(name)) {
        findLoadedClass(name) ?: own(name) ?: super.loadClass(name, resolve)
    }

    private fun own(name: String): Class<*>? {
        val path = name.replace('.', '/')
        val found = when (path) {
            mutated -> bytes
            else -> listOf(test, main).map { File(it, "$path.class") }.find { it.exists() }?.readBytes() ?: return null
        }
        return defineClass(name, found, 0, found.size)
    }
}
