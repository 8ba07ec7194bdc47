package dev.taskbundler.app.report

import android.content.Context
import android.text.format.Formatter
import dev.taskbundler.app.R
import dev.taskbundler.core.writing.GenerationStats

/** One line of figures: time to the first token, speed, context used, memory if it is given in bytes. */
fun figureLine(context: Context, stats: GenerationStats, memoryBytes: Long?): String {
    val none = context.getString(R.string.figure_none)
    val used = if (stats.exact) R.string.figure_context else R.string.figure_context_about
    return listOfNotNull(
        stats.firstTokenMillis?.let { context.getString(R.string.figure_first, it) } ?: none,
        stats.tokensPerSecond?.let { context.getString(R.string.figure_speed, it) } ?: none,
        context.getString(used, stats.usedTokens, stats.contextTokens),
        memoryBytes?.let { context.getString(R.string.figure_memory, Formatter.formatShortFileSize(context, it)) },
    ).joinToString(" · ")
}
