package dev.taskbundler.core.engine

/** What went wrong, by what a user can do about it. */
enum class FailureKind {
    /** The file ends too early: copy it again. */
    TRUNCATED_FILE,

    /** The file could not be mapped: too little memory, or a 32-bit system. */
    NOT_MAPPED,

    /** No bundle for this engine, or one for browsers only. */
    WRONG_FILE,

    OUT_OF_MEMORY,

    /** The GPU's driver is missing or refuses: choose the CPU. */
    NO_GPU,

    /** The native library is not there for this processor. */
    NO_NATIVE_LIBRARY,

    /** Prompt and answer do not fit into the context. */
    CONTEXT_FULL,

    /** A rule of the engine was broken: a fault of this app. */
    ENGINE_BUSY,

    /** No end came, though one was asked for. */
    NOT_ANSWERING,

    /** Anything else; the log has it. */
    UNKNOWN,
}

/** A failed wish: the kind for a sentence, the rest for a log. */
data class EngineFailure(val kind: FailureKind, val doing: String, val message: String, val cause: Throwable? = null)

/** What engines say (MediaPipe 0.10.35's and LiteRT-LM's messages, as users have reported them), in small letters. The first match counts. */
private val SAYINGS = listOf(
    "previous invocation still processing" to FailureKind.ENGINE_BUSY,
    "task lock" to FailureKind.ENGINE_BUSY,
    "unable to open zip archive" to FailureKind.TRUNCATED_FILE,
    "end of central directory" to FailureKind.TRUNCATED_FILE,
    "unable to map file to memory" to FailureKind.NOT_MAPPED,
    "mmap" to FailureKind.NOT_MAPPED,
    "out of memory" to FailureKind.OUT_OF_MEMORY,
    "cannot allocate" to FailureKind.OUT_OF_MEMORY,
    "resource_exhausted" to FailureKind.OUT_OF_MEMORY,
    "input token ids are too long" to FailureKind.CONTEXT_FULL,
    "exceeding the maximum number of tokens" to FailureKind.CONTEXT_FULL,
    "exceeds the max" to FailureKind.CONTEXT_FULL,
    "maximum kv-cache size reached" to FailureKind.CONTEXT_FULL,
    "max number of tokens reached" to FailureKind.CONTEXT_FULL,
    "opencl" to FailureKind.NO_GPU,
    "opengl" to FailureKind.NO_GPU,
    "gpu" to FailureKind.NO_GPU,
    "delegate" to FailureKind.NO_GPU,
    "tf_lite_prefill_decode" to FailureKind.WRONG_FILE,
    "unsupported model" to FailureKind.WRONG_FILE,
    "unknown model type" to FailureKind.WRONG_FILE,
    "not found in model" to FailureKind.WRONG_FILE,
)

/** What [cause], thrown while [doing] something, means to the user. */
fun failureOf(cause: Throwable, doing: String): EngineFailure {
    val chain = generateSequence(cause) { it.cause }.take(CAUSES_LOOKED_AT).toList()
    val said = chain.joinToString(" ") { it.message.orEmpty() }.lowercase()
    val kind = when {
        chain.any { it is OutOfMemoryError } -> FailureKind.OUT_OF_MEMORY
        chain.any { it is LinkageError } -> FailureKind.NO_NATIVE_LIBRARY
        else -> SAYINGS.firstOrNull { (words, _) -> words in said }?.second ?: FailureKind.UNKNOWN
    }
    return EngineFailure(kind, doing, "$doing failed: ${chain.first()}", cause)
}

private const val CAUSES_LOOKED_AT = 8
