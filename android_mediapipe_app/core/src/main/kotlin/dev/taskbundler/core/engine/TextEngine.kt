package dev.taskbundler.core.engine

/** The libraries that can open a bundle. */
enum class EngineKind { MEDIAPIPE, LITERT_LM }

/** What a model runs on. */
enum class Backend { CPU, GPU }

/**
 * How an engine is opened. [contextTokens] is for prompt and answer together; [loraRanks] are those an engine shall take
 * adapter files of, none for most; [maxTopK] bounds every session's top-k.
 *
 * [cachePath] is a folder of this bundle's own, for what an engine computes when it opens it: engines find that again by the model's
 * name alone. [zeroAdapterPath]: of a `.litertlm` whose model has inputs for adapters, the adapter that changes nothing. Without any, LiteRT-LM
 * would compute with undefined memory, so sessions without an adapter are given this one.
 */
data class EngineOptions(
    val kind: EngineKind,
    val modelPath: String,
    val contextTokens: Int,
    val backend: Backend,
    val loraRanks: List<Int> = emptyList(),
    val maxTopK: Int = 40,
    val zeroAdapterPath: String? = null,
    val cachePath: String? = null,
) {
    val isLitertLmFile: Boolean get() = modelPath.endsWith(LITERTLM_SUFFIX)
}

private const val LITERTLM_SUFFIX = ".litertlm"

/** How many sessions with an adapter an engine that keeps them is given before it is opened again: each costs twice the adapter's size. */
internal const val SESSIONS_AN_ENGINE = 16

/** How tokens are drawn. A temperature of 0 or a top-k of 1 always takes the likeliest. */
data class Sampling(val topK: Int = 40, val topP: Double = 0.95, val temperature: Double = 0.8, val seed: Int = 0)

/** Opens engines. */
fun interface EngineOpener {
    /** Blocks for seconds; may throw anything a native library throws, and may kill the process. */
    fun open(options: EngineOptions): TextEngine
}

/** A model in memory. [EngineController] keeps the rules of its use; nothing else should call it. */
interface TextEngine {
    /** Whether the white space that an answer begins with is lost. */
    val stripsLeadingSpace: Boolean

    /** Whether the adapter of every session that was begun stays in memory, and its file open, until the engine is closed. */
    val keepsAdapters: Boolean

    /** A new context; [adapterPath] is a LoRA adapter for it alone. */
    fun newSession(sampling: Sampling, adapterPath: String?): TextSession

    fun close()
}

/** One prompt and its answer. While it is answering, nothing but [cancel] may be called. */
interface TextSession {
    /** Null where the engine has no way to count. */
    fun countTokens(text: String): Int?

    /** Begin; [listener] is told of the rest, on a thread of the engine's own. */
    fun generate(prompt: String, listener: PieceListener)

    /** Ask for an early end, which [PieceListener.onDone] tells. */
    fun cancel()

    fun close()
}

/** Told what an engine writes; on any thread. */
interface PieceListener {
    fun onPiece(text: String)

    /** The answer is complete, or has ended after [TextSession.cancel]. */
    fun onDone()

    fun onError(cause: Throwable)
}
