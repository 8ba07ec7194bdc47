package com.google.ai.edge.litertlm

import dev.taskbundler.core.formats.JsonValue
import dev.taskbundler.core.formats.parseJson
import java.io.BufferedReader
import java.io.Writer
import java.util.concurrent.CancellationException
import kotlin.concurrent.thread

// LiteRT-LM itself, behind its Kotlin API: in a process of this project's Python environment, engine_process.py, told and asked by a
// line of JSON for each call. The command is the system property engine.command, words divided by line breaks.

class Engine(private val engineConfig: EngineConfig) : AutoCloseable {
    private lateinit var native: NativeProcess

    fun isInitialized() = ::native.isInitialized

    fun initialize() {
        native = NativeProcess()
        native.ask("open", "path" to engineConfig.modelPath, "tokens" to engineConfig.maxNumTokens, "cache" to engineConfig.cacheDir)
    }

    fun createSession(sessionConfig: SessionConfig = SessionConfig()): Session {
        val sampler = sessionConfig.samplerConfig ?: SamplerConfig(1, 1.0, 1.0)
        native.ask(
            "session",
            "top_k" to sampler.topK,
            "top_p" to sampler.topP,
            "temperature" to sampler.temperature,
            "seed" to sampler.seed,
            "adapter" to sessionConfig.loraConfig?.loraPath,
        )
        return Session(native)
    }

    override fun close() {
        check(isInitialized()) { "Engine is not initialized." }
        native.ask("close")
        native.end()
    }
}

class Session internal constructor(private val native: NativeProcess) : AutoCloseable {
    fun generateContentStream(inputData: List<InputData>, responseCallback: ResponseCallback) {
        native.tell("generate", "text" to inputData.joinToString("") { (it as InputData.Text).text })
        thread(isDaemon = true, name = "native") {
            while (true) {
                val said = native.hear()
                said["piece"]?.text?.let { responseCallback.onNext(it) } ?: return@thread when {
                    said["cancelled"] != null -> responseCallback.onError(CancellationException("Process cancelled."))
                    said["error"] != null -> responseCallback.onError(LiteRtLmJniException(said["error"]!!.text!!))
                    else -> responseCallback.onDone()
                }
            }
        }
    }

    fun cancelProcess() = native.tell("cancel")

    override fun close() = native.ask("close_session")
}

internal class NativeProcess {
    private val process = ProcessBuilder(System.getProperty("engine.command").split("\n")).redirectError(ProcessBuilder.Redirect.INHERIT).start()
    private val output: Writer = process.outputStream.writer()
    private val input: BufferedReader = process.inputStream.bufferedReader()

    fun tell(what: String, vararg values: Pair<String, Any?>) = synchronized(output) {
        val members = (listOf("do" to what) + values).joinToString { (name, value) -> "\"$name\": ${json(value)}" }
        output.write("{$members}\n")
        output.flush()
    }

    fun hear(): JsonValue = parseJson(input.readLine() ?: throw LiteRtLmJniException("the engine's process has ended"))

    fun ask(what: String, vararg values: Pair<String, Any?>) {
        tell(what, *values)
        hear()["error"]?.text?.let { throw LiteRtLmJniException(it) }
    }

    fun end() {
        output.close()
        process.waitFor()
    }

    private fun json(value: Any?): String = if (value is String) {
        value.map { if (it < ' ' || it in "\"\\" || it > '~') "\\u%04x".format(it.code) else it.toString() }.joinToString("", "\"", "\"")
    } else {
        value.toString()
    }
}
