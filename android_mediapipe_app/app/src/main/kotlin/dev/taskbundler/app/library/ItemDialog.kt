package dev.taskbundler.app.library

import android.app.AlertDialog
import android.content.Context
import android.text.format.Formatter
import dev.taskbundler.app.R
import dev.taskbundler.app.report.breakable
import dev.taskbundler.app.state.Contents
import dev.taskbundler.core.catalogue.MergedCopy
import dev.taskbundler.core.catalogue.Stored

/** Tell what there is to know about [item], and offer to delete it. */
fun showItem(context: Context, item: Stored, contents: Contents, onDelete: () -> Unit) {
    val freed = Formatter.formatFileSize(context, contents.bytesFreedBy(item))
    val consequence = context.getString(if (item is MergedCopy) R.string.library_delete_copy_message else R.string.library_delete_message, freed)
    AlertDialog.Builder(context)
        .setTitle(breakable(item.name))
        .setMessage(context.getString(R.string.item_message, factsOf(context, item, contents), consequence))
        .setPositiveButton(R.string.library_delete) { _, _ -> onDelete() }
        .setNegativeButton(R.string.library_cancel, null)
        .show()
}
