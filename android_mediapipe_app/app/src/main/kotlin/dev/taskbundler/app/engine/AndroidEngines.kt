package dev.taskbundler.app.engine

import android.content.Context
import dev.taskbundler.core.engine.EngineKind
import dev.taskbundler.core.engine.EngineOpener
import dev.taskbundler.core.engine.EngineOptions
import dev.taskbundler.core.engine.TextEngine

/** Opens a bundle with the library that the options name. */
class AndroidEngines(private val context: Context) : EngineOpener {
    override fun open(options: EngineOptions): TextEngine = when (options.kind) {
        EngineKind.MEDIAPIPE -> openMediaPipe(context, options)
        EngineKind.LITERT_LM -> openLiteRtLm(context.cacheDir, options)
    }
}
