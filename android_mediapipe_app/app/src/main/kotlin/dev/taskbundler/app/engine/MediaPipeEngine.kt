// Upstream has marked the library as deprecated in favour of LiteRT-LM, the app's other engine.
@file:Suppress("DEPRECATION")

package dev.taskbundler.app.engine

import android.content.Context
import com.google.mediapipe.tasks.genai.llminference.LlmInference
import com.google.mediapipe.tasks.genai.llminference.LlmInferenceSession
import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.EngineOptions
import dev.taskbundler.core.engine.PieceListener
import dev.taskbundler.core.engine.Sampling
import dev.taskbundler.core.engine.TextEngine
import dev.taskbundler.core.engine.TextSession

// The only file that knows MediaPipe; EngineController keeps its rules.

/** Open a bundle with MediaPipe's LLM Inference API. Blocks; throws what the native library throws. */
fun openMediaPipe(context: Context, options: EngineOptions): TextEngine {
    val builder = LlmInference.LlmInferenceOptions.builder()
        .setModelPath(options.modelPath)
        .setMaxTokens(options.contextTokens)
        .setMaxTopK(options.maxTopK)
        .setPreferredBackend(if (options.backend == Backend.GPU) LlmInference.Backend.GPU else LlmInference.Backend.CPU)
    if (options.loraRanks.isNotEmpty()) builder.setSupportedLoraRanks(options.loraRanks)
    return MediaPipeEngine(LlmInference.createFromOptions(context, builder.build()))
}

private class MediaPipeEngine(private val inference: LlmInference) : TextEngine {
    override val stripsLeadingSpace = true

    override val keepsAdapters = false

    // Never the functions of LlmInference itself that write or count: they use a session of their own, without an adapter.
    override fun newSession(sampling: Sampling, adapterPath: String?): TextSession {
        val builder = LlmInferenceSession.LlmInferenceSessionOptions.builder()
            .setTopK(sampling.topK)
            .setTopP(sampling.topP.toFloat())
            .setTemperature(sampling.temperature.toFloat())
            .setRandomSeed(sampling.seed)
        if (adapterPath != null) builder.setLoraPath(adapterPath)
        return MediaPipeSession(LlmInferenceSession.createFromOptions(inference, builder.build()))
    }

    override fun close() = inference.close()
}

private class MediaPipeSession(private val session: LlmInferenceSession) : TextSession {
    override fun countTokens(text: String): Int = session.sizeInTokens(text)

    override fun generate(prompt: String, listener: PieceListener) {
        session.addQueryChunk(prompt)
        session.generateResponseAsync { piece, done ->
            if (!piece.isNullOrEmpty()) listener.onPiece(piece)
            if (done) listener.onDone()
        }
    }

    override fun cancel() = session.cancelGenerateResponseAsync()

    override fun close() = session.close()
}
