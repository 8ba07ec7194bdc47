package dev.taskbundler.app.library

import android.content.Context
import android.text.format.Formatter
import android.view.LayoutInflater
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import dev.taskbundler.app.R
import dev.taskbundler.app.model.Contents
import dev.taskbundler.app.report.sentence
import dev.taskbundler.core.catalogue.DamagedFile
import dev.taskbundler.core.catalogue.MergedCopy
import dev.taskbundler.core.catalogue.Stored
import dev.taskbundler.core.catalogue.StoredAdapter
import dev.taskbundler.core.catalogue.StoredBundle

/** Fills [list] with what is stored, by kind; [onDelete] gets the item and the bytes that would be freed. */
class ItemList(private val list: LinearLayout, private val onDelete: (Stored, Long) -> Unit) {
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
        section(context.getString(R.string.library_merged), contents.merged, contents)
        section(context.getString(R.string.library_damaged), contents.damaged, contents)
    }

    private fun section(title: String, items: List<Stored>, contents: Contents) {
        if (items.isEmpty()) return
        add(R.layout.library_heading, title)
        for (item in items) {
            val row = LayoutInflater.from(context).inflate(R.layout.library_item, list, false)
            row.findViewById<TextView>(R.id.name).text = item.name
            row.findViewById<TextView>(R.id.facts).text = facts(item, contents)
            val delete = row.findViewById<Button>(R.id.delete)
            delete.contentDescription = context.getString(R.string.library_delete_description, item.name)
            delete.setOnClickListener { onDelete(item, contents.bytesFreedBy(item)) }
            list.addView(row)
        }
    }

    private fun facts(item: Stored, contents: Contents): String {
        val size = Formatter.formatFileSize(context, item.size)
        return when (item) {
            is StoredBundle -> context.getString(R.string.bundle_facts, size, bundleFacts(item))

            is StoredAdapter ->
                listOfNotNull(
                    context.getString(R.string.adapter_facts, size, item.header.rank),
                    item.header.licence?.let { context.getString(R.string.adapter_licence, it) },
                    fits(item, contents),
                ).joinToString("\n")

            is MergedCopy -> context.getString(R.string.merged_facts, size)

            is DamagedFile -> sentence(context, item.problem)
        }
    }

    private fun bundleFacts(bundle: StoredBundle): String {
        val manifest = bundle.manifest ?: return context.getString(R.string.bundle_other_maker)
        val made = manifest.recipe?.let { recipe -> manifest.context?.let { context.getString(R.string.bundle_recipe_context, recipe, it) } }
        return listOfNotNull(made, bundle.mergeProblem?.let { sentence(context, it) }).joinToString("\n")
    }

    private fun fits(adapter: StoredAdapter, contents: Contents): String {
        val bundles = contents.bundles.filter { (adapter.id to it.id) !in contents.misfits }
        if (bundles.isNotEmpty()) return context.getString(R.string.adapter_fits, bundles.joinToString { it.name })
        val why = contents.misfits.entries.firstOrNull { it.key.first == adapter.id }?.value
        return listOfNotNull(context.getString(R.string.adapter_fits_none), why?.let { sentence(context, it) }).joinToString(" ")
    }

    private fun add(layout: Int, text: String) {
        val view = LayoutInflater.from(context).inflate(layout, list, false)
        (view as TextView).text = text
        list.addView(view)
    }
}
