package dev.taskbundler.app.engine

import com.google.ai.edge.litertlm.Backend
import com.google.ai.edge.litertlm.Engine
import com.google.ai.edge.litertlm.EngineConfig
import com.google.ai.edge.litertlm.InputData
import com.google.ai.edge.litertlm.LoraConfig
import com.google.ai.edge.litertlm.ResponseCallback
import com.google.ai.edge.litertlm.SamplerConfig
import com.google.ai.edge.litertlm.Session
import com.google.ai.edge.litertlm.SessionConfig
import dev.taskbundler.core.engine.EngineOptions
import dev.taskbundler.core.engine.PieceListener
import dev.taskbundler.core.engine.Sampling
import dev.taskbundler.core.engine.TextEngine
import dev.taskbundler.core.engine.TextSession
import dev.taskbundler.core.litertlm.tokenCounter
import dev.taskbundler.core.writing.TokenCounter
import java.io.File
import java.util.concurrent.CancellationException
import dev.taskbundler.core.engine.Backend as Processor

// The only file that knows LiteRT-LM; EngineController keeps its rules.

/** Open a bundle with LiteRT-LM, which keeps compiled kernels in [cache]. Blocks; throws what the native library throws. */
fun openLiteRtLm(cache: File, options: EngineOptions): TextEngine {
    val engine = Engine(
        EngineConfig(
            modelPath = options.modelPath,
            backend = if (options.backend == Processor.GPU) Backend.GPU() else Backend.CPU(),
            maxNumTokens = options.contextTokens,
            cacheDir = cache.path,
        ),
    )
    // One that could not be initialized has nothing to close, and says so with an exception if it is.
    engine.initialize()
    return LiteRtLmEngine(engine, File(options.modelPath))
}

private class LiteRtLmEngine(private val engine: Engine, model: File) : TextEngine {
    // Read with the first text, on the engine's thread.
    private val counter by lazy(LazyThreadSafetyMode.NONE) { if (model.extension == "litertlm") tokenCounter(model) else null }

    override val stripsLeadingSpace = false

    // Each session's adapter gets a number, under which the library keeps it. It has functions that let a session go on with the same
    // adapter from the beginning (rewinding), but not in Kotlin.
    override val keepsAdapters = true

    override fun newSession(sampling: Sampling, adapterPath: String?): TextSession {
        // The likeliest token is asked for by a top-k of 1; what a temperature of 0 does is not written down.
        val sampler = when {
            sampling.temperature > 0 -> SamplerConfig(sampling.topK, sampling.topP, sampling.temperature, sampling.seed)
            else -> SamplerConfig(topK = 1, topP = 1.0, temperature = 1.0, seed = sampling.seed)
        }
        val adapter = adapterPath?.let { LoraConfig(loraPath = it) }
        return LiteRtLmSession(engine.createSession(SessionConfig(samplerConfig = sampler, loraConfig = adapter))) { counter?.count(it) }
    }

    override fun close() = engine.close()
}

private class LiteRtLmSession(private val session: Session, private val counter: TokenCounter) : TextSession {
    /** Sessions of LiteRT-LM have no function that counts; the bundle has the tokenizer. */
    override fun countTokens(text: String): Int? = counter.count(text)

    override fun generate(prompt: String, listener: PieceListener) {
        session.generateContentStream(
            listOf(InputData.Text(prompt)),
            object : ResponseCallback {
                override fun onNext(response: String) = listener.onPiece(response)

                override fun onDone() = listener.onDone()

                // A cancelled answer ends with this exception, and not with onDone.
                override fun onError(throwable: Throwable) =
                    if (throwable is CancellationException) listener.onDone() else listener.onError(throwable)
            },
        )
    }

    override fun cancel() = session.cancelProcess()

    override fun close() = session.close()
}
