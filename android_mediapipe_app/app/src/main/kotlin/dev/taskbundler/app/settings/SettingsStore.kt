package dev.taskbundler.app.settings

import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.EngineKind

/** Texts by key, kept over restarts. */
interface KeyValues {
    fun get(key: String): String?

    fun put(values: Map<String, String>)
}

/** Keeps [Settings] in [values]; what is missing or senseless there becomes the default. */
class SettingsStore(private val values: KeyValues) {
    fun read(): Settings {
        val usual = Settings()
        val plain = usual.copy(
            engine = EngineKind.entries.find { it.name == values.get(ENGINE) } ?: usual.engine,
            backend = Backend.entries.find { it.name == values.get(BACKEND) } ?: usual.backend,
            nativeLora = values.get(NATIVE) == true.toString(),
            words = values.get(WORDS) ?: usual.words,
        )
        return plain.with(NumberField.entries.mapNotNull { field -> values.get(field.key)?.let { field to it } }.toMap()).first
    }

    fun write(settings: Settings) = values.put(
        settings.numbers().mapKeys { it.key.key } + mapOf(
            ENGINE to settings.engine.name,
            BACKEND to settings.backend.name,
            NATIVE to settings.nativeLora.toString(),
            WORDS to settings.words,
        ),
    )

    private companion object {
        const val ENGINE = "engine"
        const val BACKEND = "backend"
        const val NATIVE = "nativeLora"
        const val WORDS = "words"
    }
}
