package dev.taskbundler.app.settings

import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.EngineKind
import dev.taskbundler.core.engine.Sampling
import dev.taskbundler.core.writing.DEFAULT_WINDOW_SHARE

/** What the user may choose. */
data class Settings(
    val engine: EngineKind = EngineKind.MEDIAPIPE,
    val backend: Backend = Backend.CPU,
    /** For prompt and answer together; 0: as many as the bundle has. */
    val contextTokens: Int = 0,
    /** How much of the context is for the text so far. */
    val windowPercent: Int = (DEFAULT_WINDOW_SHARE * 100).toInt(),
    /** How long a suggestion gets, about. */
    val suggestionTokens: Int = 40,
    val topK: Int = USUAL_TOP_K,
    val topP: Double = 0.95,
    val temperature: Double = 0.8,
    val seed: Int = 0,
    /** Hand adapter files to the engine instead of merging them; experimental, on the GPU only. */
    val nativeLora: Boolean = false,
    /** The word list as it was typed. */
    val words: String = "",
) {
    fun sampling() = Sampling(topK, topP, temperature, seed)

    companion object {
        /** MediaPipe's own bound unless another is asked for. */
        const val USUAL_TOP_K = 40
    }
}

/** A number of the settings, and what it may be. */
enum class NumberField(val key: String, val least: Double, val most: Double, val isWhole: Boolean) {
    CONTEXT("context", 0.0, 8192.0, true),
    WINDOW("window", 5.0, 95.0, true),
    SUGGESTION("suggestion", 1.0, 1024.0, true),
    TOP_K("topK", 1.0, 1000.0, true),
    TOP_P("topP", 0.0, 1.0, false),
    TEMPERATURE("temperature", 0.0, 5.0, false),
    SEED("seed", 0.0, Int.MAX_VALUE.toDouble(), true),
}

/** The number that [text] is, or null if [field] cannot be that. A comma is as good as a point. */
fun parseNumber(field: NumberField, text: String): Double? {
    val number = text.trim().replace(',', '.').toDoubleOrNull() ?: return null
    return number.takeIf { it in field.least..field.most && (!field.isWhole || it == Math.rint(it)) }
}

/** The settings' numbers as text, to be edited. */
fun Settings.numbers(): Map<NumberField, String> = NumberField.entries.associateWith { field ->
    when (field) {
        NumberField.CONTEXT -> contextTokens.toString()
        NumberField.WINDOW -> windowPercent.toString()
        NumberField.SUGGESTION -> suggestionTokens.toString()
        NumberField.TOP_K -> topK.toString()
        NumberField.TOP_P -> topP.toString()
        NumberField.TEMPERATURE -> temperature.toString()
        NumberField.SEED -> seed.toString()
    }
}

/** These settings with [numbers]; fields whose text is no such number keep their value and are in the second part. */
fun Settings.with(numbers: Map<NumberField, String>): Pair<Settings, Set<NumberField>> {
    val wrong = LinkedHashSet<NumberField>()
    val changed = numbers.entries.fold(this) { settings, (field, text) ->
        val number = parseNumber(field, text)
        if (number == null) {
            wrong += field
            settings
        } else {
            settings.with(field, number)
        }
    }
    return changed to wrong
}

private fun Settings.with(field: NumberField, number: Double) = when (field) {
    NumberField.CONTEXT -> copy(contextTokens = number.toInt())
    NumberField.WINDOW -> copy(windowPercent = number.toInt())
    NumberField.SUGGESTION -> copy(suggestionTokens = number.toInt())
    NumberField.TOP_K -> copy(topK = number.toInt())
    NumberField.TOP_P -> copy(topP = number)
    NumberField.TEMPERATURE -> copy(temperature = number)
    NumberField.SEED -> copy(seed = number.toInt())
}
