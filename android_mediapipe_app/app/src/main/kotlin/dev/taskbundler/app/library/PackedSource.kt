package dev.taskbundler.app.library

import android.content.res.AssetManager
import dev.taskbundler.core.catalogue.ImportSource
import java.io.InputStream

private const val FOLDER = "bundles"

/** The files that were packed into the app itself, in the folder assets/bundles; most apps have none. */
fun packedSources(assets: AssetManager): List<ImportSource> = assets.list(FOLDER).orEmpty().map { PackedSource(assets, it) }

private class PackedSource(private val assets: AssetManager, override val name: String) : ImportSource {
    override val size: Long? = null

    override fun open(): InputStream = assets.open("$FOLDER/$name", AssetManager.ACCESS_STREAMING)
}
