package dev.taskbundler.app.engine

import android.content.Context
import android.content.ContextWrapper
import dev.taskbundler.core.engine.EngineKind
import dev.taskbundler.core.engine.EngineOpener
import dev.taskbundler.core.engine.EngineOptions
import dev.taskbundler.core.engine.TextEngine
import java.io.File

/** Opens a bundle with the library that the options name. Each bundle has a folder of its own for what engines keep of it. */
class AndroidEngines(private val context: Context) : EngineOpener {
    override fun open(options: EngineOptions): TextEngine {
        val cache = options.cachePath?.let { File(it) }?.takeIf { it.isDirectory || it.mkdirs() } ?: context.cacheDir
        return when (options.kind) {
            // It asks the context for the folder.
            EngineKind.MEDIAPIPE -> openMediaPipe(WithCache(context, cache), options)

            EngineKind.LITERT_LM -> openLiteRtLm(cache, options)
        }
    }
}

private class WithCache(context: Context, private val cache: File) : ContextWrapper(context) {
    override fun getCacheDir() = cache

    override fun getApplicationContext() = this
}
