package dev.taskbundler.core.figures

import dev.taskbundler.core.formats.encodeJson
import dev.taskbundler.core.writing.GenerationStats

/** What was done while a [Figure] was taken. */
enum class Work {
    /** Open a bundle. */
    OPEN,

    /** Merge an adapter into a copy of a bundle. */
    MERGE,

    WRITE,

    /** Teach a bundle an adapter. */
    TEACH,
}

/** What some work took; [stats] is of writing. [memory] is as it was at its end, with all still open. */
data class Figure(
    val work: Work,
    val bundle: String,
    val adapter: String?,
    val millis: Long,
    val memory: ProcessMemory,
    val stats: GenerationStats? = null,
)

/** These figures and [figure], in the place of an earlier one of the same kind: with an adapter and without are two. */
fun List<Figure>.with(figure: Figure): List<Figure> = filter { kind(it) != kind(figure) } + figure

private fun kind(figure: Figure) = figure.work to (figure.adapter != null)

/** All as JSON, to be read by programs: times in milliseconds, memory in bytes. [phone] says what it was measured on. */
fun encodeFigures(phone: Map<String, Any?>, now: ProcessMemory, figures: List<Figure>): String =
    encodeJson(phone + mapOf("now" to fields(now), "figures" to figures.map(::fields)))

private fun fields(figure: Figure): Map<String, Any?> = mapOf(
    "work" to figure.work.name.lowercase(),
    "bundle" to figure.bundle,
    "adapter" to figure.adapter,
    "milliseconds" to figure.millis,
) + figure.stats?.let(::fields).orEmpty() + mapOf("memory" to fields(figure.memory))

private fun fields(stats: GenerationStats): Map<String, Any?> = mapOf(
    "first_token_milliseconds" to stats.firstTokenMillis,
    "tokens_per_second" to stats.tokensPerSecond,
    "prompt_tokens" to stats.promptTokens,
    "output_tokens" to stats.outputTokens,
    "tokens_are_exact" to stats.exact,
    "context_tokens" to stats.contextTokens,
)

private fun fields(memory: ProcessMemory): Map<String, Any?> = mapOf(
    "pss" to memory.pss,
    "native_heap" to memory.nativeHeap,
    "graphics" to memory.graphics,
    "resident" to memory.resident,
    "peak" to memory.peak,
    "mapped" to memory.mapped,
)
