package dev.taskbundler.core.engine

/** Why a wish is not carried out; nothing has changed. */
enum class RefusalReason {
    /** LoRA ranks on the CPU back end have ended the whole process in an older engine. */
    RANKS_ON_CPU,

    /** The engine was not opened for adapter files. */
    NO_RANKS_DECLARED,

    /** LiteRT-LM ignores an adapter for a bundle in MediaPipe's layout without a word. */
    ENGINE_IGNORES_ADAPTERS,

    /** A `.litertlm` is for LiteRT-LM alone. */
    ENGINE_CANNOT_OPEN,

    /** A `.litertlm` with inputs for adapters, and no adapter of zeros for the base: it would compute with undefined memory. */
    NO_ZERO_ADAPTER,

    TOP_K_TOO_LARGE,
    CONTEXT_TOO_SMALL,
    NO_MODEL,
    BUSY,

    /** The engine never ended an answer: it can be neither closed nor asked, and a second one would not fit beside it. */
    ENGINE_STUCK,

    NOTHING_TO_CONTINUE,

    /** The text has a word that the user does not want sent. */
    LISTED_WORD,

    /** An adapter is being taught, which takes the engine's memory. */
    TEACHING,
}

/** A refused wish; [detail] is the number or word it is about, and [message] the sentence for a log. */
data class Refusal(val reason: RefusalReason, val detail: String, val message: String)

internal const val SMALLEST_CONTEXT = 16

/** Why an engine must not be opened with these options, or null. */
fun refusal(options: EngineOptions): Refusal? = when {
    options.isLitertLmFile && options.kind != EngineKind.LITERT_LM -> Refusal(
        RefusalReason.ENGINE_CANNOT_OPEN,
        "",
        "A .litertlm was to be opened with MediaPipe, which cannot. Choose LiteRT-LM, or the .task beside it.",
    )

    options.loraRanks.isNotEmpty() && options.kind == EngineKind.LITERT_LM && !options.isLitertLmFile -> ignoresAdapters()

    options.loraRanks.isNotEmpty() && options.isLitertLmFile && options.zeroAdapterPath == null -> Refusal(
        RefusalReason.NO_ZERO_ADAPTER,
        options.modelPath,
        "A .litertlm that takes adapters was to be opened without one of zeros for its base. Import it again.",
    )

    options.loraRanks.isNotEmpty() && options.kind == EngineKind.MEDIAPIPE && options.backend == Backend.CPU -> Refusal(
        RefusalReason.RANKS_ON_CPU,
        options.loraRanks.joinToString(),
        "Adapter ranks ${options.loraRanks.joinToString()} were asked for on the CPU, which can end the app. Choose the GPU, or merge the adapter.",
    )

    options.contextTokens < SMALLEST_CONTEXT -> Refusal(
        RefusalReason.CONTEXT_TOO_SMALL,
        options.contextTokens.toString(),
        "A context of ${options.contextTokens} tokens is too small; at least $SMALLEST_CONTEXT are needed.",
    )

    else -> null
}

/** Why an open engine must not be given such a session, or null. */
fun refusal(options: EngineOptions, sampling: Sampling, adapterPath: String?): Refusal? = when {
    adapterPath != null && options.kind == EngineKind.LITERT_LM && !options.isLitertLmFile -> ignoresAdapters()

    adapterPath != null && options.loraRanks.isEmpty() -> Refusal(
        RefusalReason.NO_RANKS_DECLARED,
        adapterPath,
        "The engine was opened without adapter ranks and takes no adapter file. Open it with the adapter's rank, or merge the adapter.",
    )

    sampling.topK > options.maxTopK -> Refusal(
        RefusalReason.TOP_K_TOO_LARGE,
        options.maxTopK.toString(),
        "Top-k is ${sampling.topK}, but the engine was opened for at most ${options.maxTopK}. Choose a smaller one.",
    )

    else -> null
}

private fun ignoresAdapters() = Refusal(
    RefusalReason.ENGINE_IGNORES_ADAPTERS,
    "",
    "LiteRT-LM ignores adapter files for a .task bundle. Merge the adapter, or choose MediaPipe.",
)
