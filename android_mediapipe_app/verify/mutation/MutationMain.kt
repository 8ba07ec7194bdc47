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
import kotlin.system.measureTimeMillis

/** What takes so many times as long as the tests of unbroken classes does not end. */
private const val PATIENCE = 4

/** Milliseconds. A class of tests that takes longer tries thousands of damaged files; only mutations of its own package are worth that. */
private const val LONG = 1_000

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
    val unbroken = MutatedLoader(main, test, "", ByteArray(0))
    val milliseconds = tests.associateWith { name ->
        measureTimeMillis {
            if (fails(unbroken.loadClass(name))) {
                println("$name fails before anything is broken")
                exitProcess(1)
            }
        }
    }
    val patience = PATIENCE * milliseconds.values.sum()
    println("mutations ${chosen.size} of ${all.size}")
    for (mutation in chosen) {
        val file = File(main, "${mutation.className}.class")
        val loader = MutatedLoader(main, test, mutation.className, mutated(file.readBytes(), linesOf(file, sources)!!, mutation))
        val likely = likelyFirst(milliseconds, mutation.className.replace('/', '.').substringBeforeLast('.'))
        var noticed = true
        val worker = Thread { noticed = isNoticed(likely, loader) }.apply { isDaemon = true }
        worker.start()
        worker.join(patience)
        if (worker.isAlive) worker.stop()
        if (!noticed) println("survived $mutation")
    }
    exitProcess(0)
}

/** The tests of a package, which are likely to notice what is broken there, then those of others that are not long; short ones first. */
private fun likelyFirst(milliseconds: Map<String, Long>, broken: String): List<String> {
    val (own, others) = milliseconds.keys.sortedBy { milliseconds[it] }.partition { it.substringBeforeLast('.') == broken }
    return own + others.filter { milliseconds.getValue(it) < LONG }
}

private fun isNoticed(tests: List<String>, loader: MutatedLoader): Boolean = tests.any { name ->
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
private class MutatedLoader(private val main: File, private val test: File, private val mutated: String, private val bytes: ByteArray) :
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
