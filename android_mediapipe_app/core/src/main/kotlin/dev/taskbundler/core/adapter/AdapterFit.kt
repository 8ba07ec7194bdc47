package dev.taskbundler.core.adapter

import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.litertlm.LitertLmBundle
import dev.taskbundler.core.task.LoraFacts

/** Why an adapter does not fit the base that [facts] are of, or null if it does. [adapter] and [bundle] are what the sentence calls them. */
fun baseProblem(header: AdapterHeader, facts: LoraFacts, adapter: String, bundle: String): Finding? {
    for ((what, found, expected) in listOf(Triple("width", header.width, facts.width), Triple("layers", header.layers, facts.layers))) {
        if (found != expected) {
            return Finding(
                FindingCode.APP_ADAPTER_OTHER_SHAPE,
                mapOf("what" to what, "found" to found, "expected" to expected, "adapter" to adapter, "bundle" to bundle),
                "$adapter is for a model with $what $found, $bundle has $expected; choose the bundle it was trained on",
            )
        }
    }
    if (header.baseFingerprint != null && facts.baseFingerprint != null && header.baseFingerprint != facts.baseFingerprint) {
        return Finding(
            FindingCode.APP_ADAPTER_OTHER_BASE,
            mapOf("found" to header.baseFingerprint, "expected" to facts.baseFingerprint, "adapter" to adapter, "bundle" to bundle),
            "$adapter was trained on other weights (fingerprint ${header.baseFingerprint.take(16)}…) than those of $bundle " +
                "(${facts.baseFingerprint.take(16)}…); choose the bundle it was trained on",
        )
    }
    if (header.queryScale != facts.queryScale) {
        return Finding(
            FindingCode.APP_ADAPTER_OTHER_SHAPE,
            mapOf(
                "what" to "query_scale",
                "found" to header.queryScale[0],
                "expected" to facts.queryScale[0],
                "adapter" to adapter,
                "bundle" to bundle,
            ),
            "$adapter was exported for attention scores scaled by ${header.queryScale[0]}, $bundle scales them by ${facts.queryScale[0]}; " +
                "export it again for this bundle",
        )
    }
    return null
}

/** Why LiteRT-LM cannot be given the adapter beside the weights of the `.litertlm` [bundle] is the name of, or null. */
fun litertLmProblem(header: AdapterHeader, file: LitertLmBundle, adapter: String, bundle: String): Finding? {
    val lora = file.lora ?: return Finding(
        FindingCode.APP_LITERTLM_WITHOUT_LORA,
        mapOf("bundle" to bundle),
        "the model in $bundle has no inputs for adapters; choose the .task beside it, into which they are merged, or build it with --lora-ranks 16",
    )
    // A .litertlm does not say how its scores are scaled: the fingerprint tells one base from another.
    val facts = LoraFacts(file.baseFingerprint, lora.layers, lora.width, header.queryScale, listOf(lora.rank), null, null, null)
    return baseProblem(header, facts, adapter, bundle) ?: rankProblem(header, facts, adapter, bundle)
}

/**
 * The finding on an adapter of [trainer]'s, as one on the trainer itself; what is wrong with the bundle alone stays. [rank] is the trainer's.
 */
fun trainerProblem(finding: Finding, trainer: String, rank: Int, bundle: String): Finding = when (finding.code) {
    FindingCode.APP_ADAPTER_OTHER_BASE, FindingCode.APP_ADAPTER_OTHER_SHAPE -> Finding(
        FindingCode.APP_TRAINER_OTHER_MODEL,
        mapOf("trainer" to trainer, "bundle" to bundle),
        "$trainer was made from another model than $bundle; choose the bundle that was built with it, or build one with --trainer",
    )

    FindingCode.APP_ADAPTER_RANK_UNSUPPORTED -> Finding(
        FindingCode.APP_TRAINER_RANK_UNUSED,
        mapOf("trainer" to trainer, "bundle" to bundle, "rank" to rank, "ranks" to finding.arguments.getValue("ranks")),
        "$trainer teaches adapters of rank $rank, $bundle takes rank ${finding.arguments["ranks"]}; choose the .task, or build both at once",
    )

    else -> finding
}

/** Nothing that is here has tokens for teaching [bundle]. */
fun tokenizerProblem(bundle: String) = Finding(
    FindingCode.APP_TRAINER_NO_TOKENIZER,
    mapOf("bundle" to bundle),
    "no bundle here has a readable tokenizer for the model of $bundle; import the .litertlm that was built with it",
)

/** Why an engine with LoRA support cannot take the adapter beside the weights, or null: its rank has no signatures. */
fun rankProblem(header: AdapterHeader, facts: LoraFacts, adapter: String, bundle: String): Finding? {
    if (header.rank in facts.ranks) return null
    val ranks = facts.ranks.joinToString().ifEmpty { "none" }
    return Finding(
        FindingCode.APP_ADAPTER_RANK_UNSUPPORTED,
        mapOf("rank" to header.rank, "ranks" to ranks, "adapter" to adapter, "bundle" to bundle),
        "$adapter has rank ${header.rank}, $bundle takes adapters of rank $ranks beside its weights; export it at such a rank, or merge it into a .task",
    )
}
