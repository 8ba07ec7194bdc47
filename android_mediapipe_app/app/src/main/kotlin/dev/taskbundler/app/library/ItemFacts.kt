package dev.taskbundler.app.library

import android.content.Context
import android.text.format.Formatter
import dev.taskbundler.app.R
import dev.taskbundler.app.report.breakable
import dev.taskbundler.app.report.sentence
import dev.taskbundler.app.state.Contents
import dev.taskbundler.core.catalogue.DamagedFile
import dev.taskbundler.core.catalogue.MergedCopy
import dev.taskbundler.core.catalogue.Stored
import dev.taskbundler.core.catalogue.StoredAdapter
import dev.taskbundler.core.catalogue.StoredBundle
import dev.taskbundler.core.catalogue.StoredTrainer
import dev.taskbundler.core.litertlm.LitertLmBundle

/** What there is to know about [item]: its size, what it is made for, and what is wrong with it. */
fun factsOf(context: Context, item: Stored, contents: Contents): String {
    val size = Formatter.formatFileSize(context, item.bytes)
    return when (item) {
        is StoredBundle -> context.getString(R.string.bundle_facts, size, bundleFacts(context, item))

        is StoredAdapter ->
            listOfNotNull(
                context.getString(R.string.adapter_facts, size, item.header.rank),
                if (item.isKept) null else context.getString(R.string.adapter_not_kept),
                item.header.licence?.let { context.getString(R.string.adapter_licence, it) },
                fits(context, item, contents),
            ).joinToString("\n")

        is StoredTrainer -> listOf(
            context.getString(R.string.adapter_facts, size, item.facts.rank),
            teaches(context, item, contents),
        ).joinToString("\n")

        is MergedCopy -> context.getString(R.string.merged_facts, size)

        is DamagedFile -> sentence(context, item.problem)
    }
}

private fun bundleFacts(context: Context, bundle: StoredBundle): String {
    bundle.litertLm?.let { return litertLmFacts(context, bundle, it) }
    val manifest = bundle.manifest ?: return context.getString(R.string.bundle_other_maker)
    val made = manifest.recipe?.let { recipe -> manifest.context?.let { context.getString(R.string.bundle_recipe_context, recipe, it) } }
    return listOfNotNull(made, bundle.mergeProblem?.let { sentence(context, it) }).joinToString("\n")
}

private fun litertLmFacts(context: Context, bundle: StoredBundle, file: LitertLmBundle): String {
    val rank = file.lora?.rank
    return listOfNotNull(
        bundle.context?.let { context.getString(R.string.bundle_context, it) },
        context.getString(R.string.bundle_litertlm_only),
        if (rank == null) context.getString(R.string.bundle_litertlm_plain) else context.getString(R.string.bundle_litertlm_rank, rank),
    ).joinToString("\n")
}

private fun teaches(context: Context, trainer: StoredTrainer, contents: Contents): String {
    val bundles = contents.bundles.filter { (trainer.id to it.id) !in contents.trainerMisfits }
    if (bundles.isNotEmpty()) return context.getString(R.string.trainer_teaches, bundles.joinToString { breakable(it.name) })
    val why = contents.trainerMisfits.entries.firstOrNull { it.key.first == trainer.id }?.value
    return listOfNotNull(context.getString(R.string.trainer_teaches_none), why?.let { sentence(context, it) }).joinToString(" ")
}

private fun fits(context: Context, adapter: StoredAdapter, contents: Contents): String {
    val bundles = contents.bundles.filter { (adapter.id to it.id) !in contents.misfits }
    if (bundles.isNotEmpty()) return context.getString(R.string.adapter_fits, bundles.joinToString { breakable(it.name) })
    val why = contents.misfits.entries.firstOrNull { it.key.first == adapter.id }?.value
    return listOfNotNull(context.getString(R.string.adapter_fits_none), why?.let { sentence(context, it) }).joinToString(" ")
}
