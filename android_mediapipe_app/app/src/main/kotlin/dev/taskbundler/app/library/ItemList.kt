package dev.taskbundler.app.library

import android.content.Context
import android.view.LayoutInflater
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import dev.taskbundler.app.R
import dev.taskbundler.app.report.breakable
import dev.taskbundler.app.state.Contents
import dev.taskbundler.core.catalogue.Stored

/** Fills [list] with what is stored, by kind. */
class ItemList(private val list: LinearLayout, private val onDelete: (Stored) -> Unit) {
    private val context: Context = list.context
    private val resources = context.resources

    fun show(contents: Contents) {
        if (contents.isEmpty) add(R.layout.library_heading, context.getString(R.string.library_empty))
        section(
            resources.getQuantityString(R.plurals.library_count_bundles, contents.bundles.size, contents.bundles.size),
            contents.bundles,
            contents,
        )
        section(
            resources.getQuantityString(R.plurals.library_count_adapters, contents.adapters.size, contents.adapters.size),
            contents.adapters,
            contents,
        )
        section(
            resources.getQuantityString(R.plurals.library_count_trainers, contents.trainers.size, contents.trainers.size),
            contents.trainers,
            contents,
        )
        section(context.getString(R.string.library_merged), contents.merged, contents)
        section(context.getString(R.string.library_damaged), contents.damaged, contents)
    }

    private fun section(title: String, items: List<Stored>, contents: Contents) {
        if (items.isEmpty()) return
        add(R.layout.library_heading, title)
        for (item in items) {
            val row = LayoutInflater.from(context).inflate(R.layout.library_item, list, false)
            row.findViewById<TextView>(R.id.name).text = breakable(item.name)
            row.findViewById<TextView>(R.id.facts).text = factsOf(context, item, contents)
            val delete = row.findViewById<Button>(R.id.delete)
            delete.contentDescription = context.getString(R.string.library_delete_description, item.name)
            delete.setOnClickListener { onDelete(item) }
            list.addView(row)
        }
    }

    private fun add(layout: Int, text: String) {
        val view = LayoutInflater.from(context).inflate(layout, list, false)
        (view as TextView).text = text
        list.addView(view)
    }
}
