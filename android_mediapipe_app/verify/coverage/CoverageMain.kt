package dev.taskbundler.verify

import org.jacoco.core.analysis.Analyzer
import org.jacoco.core.analysis.CoverageBuilder
import org.jacoco.core.analysis.ICounter
import org.jacoco.core.analysis.ISourceFileCoverage
import org.jacoco.core.data.ExecutionDataStore
import org.jacoco.core.data.SessionInfoStore
import org.jacoco.core.instr.Instrumenter
import org.jacoco.core.runtime.LoggerRuntime
import org.jacoco.core.runtime.RuntimeData
import org.junit.internal.TextListener
import org.junit.runner.JUnitCore
import org.objectweb.asm.ClassReader
import org.objectweb.asm.ClassVisitor
import org.objectweb.asm.ClassWriter
import org.objectweb.asm.Opcodes
import java.io.File
import kotlin.system.exitProcess

/**
 * `CoverageMain SOURCES MAIN_CLASSES TEST_CLASSES CLASS…`: run JUnit classes, and count the lines of SOURCES that they reach.
 *
 * Prints JUnit's own report; if all passed, then a line `coverage FILE REACHED LINES` for each source file and `missed FILE LINE,…` where
 * lines were not reached. Exit code 1 if a test failed. The classes are instrumented as they are loaded, because Debian's JaCoCo agent
 * lacks the library it needs.
 */
fun main(arguments: Array<String>) {
    val (sources, main, test) = arguments.take(3).map { File(it) }
    val runtime = LoggerRuntime()
    val data = RuntimeData().also { runtime.startup(it) }
    val loader = InstrumentingLoader(main, test, Instrumenter(runtime))
    val junit = JUnitCore().apply { addListener(TextListener(System.out)) }
    val result = junit.run(*arguments.drop(3).map { loader.loadClass(it) }.toTypedArray())
    runtime.shutdown()
    if (!result.wasSuccessful()) exitProcess(1)
    val executed = ExecutionDataStore().also { data.collect(it, SessionInfoStore(), false) }
    val coverage = CoverageBuilder()
    val analyzer = Analyzer(executed, coverage)
    main.walk().filter { it.extension == "class" }.forEach { analyzer.analyzeClass(withoutInlining(it.readBytes()), it.path) }
    coverage.sourceFiles.sortedBy { it.packageName + it.name }.forEach { report(it, sources) }
}

private fun report(file: ISourceFileCoverage, sources: File) {
    val path = "${file.packageName}/${file.name}"
    // Code that the compiler inlined from elsewhere has the name of that file, or lines after the last.
    val last = File(sources, path).takeIf { it.exists() }?.useLines { it.count() } ?: return
    val lines = (1..last).filter { file.getLine(it).status != ICounter.EMPTY }
    val missed = lines.filter { file.getLine(it).status == ICounter.NOT_COVERED }
    if (lines.isEmpty()) return
    println("coverage $path ${lines.size - missed.size} ${lines.size}")
    if (missed.isNotEmpty()) println("missed $path ${missed.joinToString(",")}")
}

/** A class without the table of inlined lines, which this release of JaCoCo cannot read where Kotlin 2 wrote it. */
private fun withoutInlining(bytes: ByteArray): ByteArray {
    val writer = ClassWriter(0)
    val visitor = object : ClassVisitor(Opcodes.ASM9, writer) {
        override fun visitSource(source: String?, debug: String?) = super.visitSource(source, null)
    }
    ClassReader(bytes).accept(visitor, 0)
    return writer.toByteArray()
}

/** Loads the classes of two folders itself, those of [main] instrumented; all others come from the application's loader. */
private class InstrumentingLoader(private val main: File, private val test: File, private val instrumenter: Instrumenter) :
    ClassLoader(JUnitCore::class.java.classLoader) {
    override fun loadClass(name: String, resolve: Boolean): Class<*> = synchronized(getClassLoadingLock(name)) {
        findLoadedClass(name) ?: own(name) ?: super.loadClass(name, resolve)
    }

    private fun own(name: String): Class<*>? {
        val path = name.replace('.', '/') + ".class"
        val plain = File(test, path).takeIf { it.exists() }?.readBytes()
        val bytes =
            plain ?: File(main, path).takeIf { it.exists() }?.let { instrumenter.instrument(withoutInlining(it.readBytes()), name) } ?: return null
        return defineClass(name, bytes, 0, bytes.size)
    }
}
