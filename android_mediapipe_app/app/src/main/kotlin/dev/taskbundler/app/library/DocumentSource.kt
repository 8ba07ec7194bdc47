package dev.taskbundler.app.library

import android.content.ContentResolver
import android.database.Cursor
import android.net.Uri
import android.provider.OpenableColumns
import dev.taskbundler.core.catalogue.ImportSource
import java.io.FileNotFoundException
import java.io.InputStream

/** A document of the system's picker, or one that another app has opened with this one. */
class DocumentSource(private val resolver: ContentResolver, private val address: Uri) : ImportSource {
    private val facts by lazy { ask() }

    override val name get() = facts.first ?: address.lastPathSegment ?: "document"

    override val size get() = facts.second

    override fun open(): InputStream = resolver.openInputStream(address) ?: throw FileNotFoundException("$address is not there any more")

    /** Name and size; providers are other apps' code and may know neither, or fail. */
    private fun ask(): Pair<String?, Long?> = try {
        resolver.query(address, arrayOf(OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE), null, null, null)?.use { row ->
            if (row.moveToFirst()) text(row, OpenableColumns.DISPLAY_NAME) to text(row, OpenableColumns.SIZE)?.toLongOrNull() else null
        } ?: (null to null)
    } catch (_: RuntimeException) {
        null to null
    }

    private fun text(row: Cursor, column: String): String? {
        val index = row.getColumnIndex(column)
        return if (index < 0 || row.isNull(index)) null else row.getString(index)
    }
}
