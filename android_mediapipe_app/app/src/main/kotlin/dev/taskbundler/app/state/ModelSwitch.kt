package dev.taskbundler.app.state

import dev.taskbundler.app.settings.Settings
import dev.taskbundler.core.catalogue.MergedCopy
import dev.taskbundler.core.catalogue.Openable
import dev.taskbundler.core.catalogue.StoredAdapter
import dev.taskbundler.core.catalogue.StoredBundle
import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.CacheLength
import dev.taskbundler.core.engine.EngineKind
import dev.taskbundler.core.engine.EngineOptions
import dev.taskbundler.core.engine.GenerationRequest
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.Progress
import dev.taskbundler.core.writing.WordList
import dev.taskbundler.core.writing.estimateTokens
import java.util.concurrent.ConcurrentHashMap

/** Which bundle writes, and with which adapter; null is the bundle as it is. */
data class Choice(val bundle: StoredBundle, val adapter: StoredAdapter?)

/** Tokens that an engine is opened for when neither the bundle nor the user says how many. */
const val USUAL_CONTEXT = 512

/** The engine that opens [bundle]: LiteRT-LM for a `.litertlm`, which no other reads; else the user's. */
fun engineFor(bundle: StoredBundle, settings: Settings): EngineKind = if (bundle.litertLm != null) EngineKind.LITERT_LM else settings.engine

/** Whether the engine itself takes the adapter's file, as it always does beside a `.litertlm`; else it is merged into a copy of the bundle. */
fun isNative(choice: Choice, settings: Settings): Boolean = choice.bundle.litertLm != null || (allowsNative(settings) && fitsNative(choice))

private fun allowsNative(settings: Settings) = settings.nativeLora && settings.engine == EngineKind.MEDIAPIPE && settings.backend == Backend.GPU

private fun fitsNative(choice: Choice): Boolean {
    val ranks = ranksOf(choice.bundle)
    return ranks.isNotEmpty() && (choice.adapter == null || choice.adapter.header.rank in ranks)
}

/** How the engine is opened on [item], the bundle itself or a merged copy, with a cache of [length] tokens. */
fun optionsFor(choice: Choice, settings: Settings, item: Openable, length: Int = contextOf(choice.bundle, settings)): EngineOptions = EngineOptions(
    kind = engineFor(choice.bundle, settings),
    modelPath = item.file.path,
    contextTokens = length,
    backend = settings.backend,
    // Also for the base: so a change between the two needs no other engine.
    loraRanks = if (isNative(choice, settings)) ranksOf(choice.bundle) else emptyList(),
    maxTopK = maxOf(Settings.USUAL_TOP_K, settings.topK),
    zeroAdapterPath = choice.bundle.zeroAdapter?.path,
    cachePath = item.cache.folder?.path,
)

/**
 * The cache to open [bundle] with at first. One that can grow does so on the CPU, where every token is written in the time that its
 * length takes; a GPU compiles the model for one length, so it is given all of it. So is one that the user has said the length of.
 */
fun cacheOf(bundle: StoredBundle, settings: Settings): CacheLength {
    val context = contextOf(bundle, settings)
    val step = bundle.litertLm?.growth?.takeIf { settings.backend == Backend.CPU && settings.contextTokens == 0 }
    return if (step == null) CacheLength.fixed(context) else CacheLength.growing(context, step)
}

/** Tokens that [request] may need, with room for a start token and for what is written until an engine has stopped. */
fun tokensFor(request: GenerationRequest): Int = minOf(request.windowTokens, estimateTokens(request.text)) + request.outputTokens + ROOM_TO_STOP

private const val ROOM_TO_STOP = 32

/** The user's context, or the bundle's; never more than the bundle has. */
fun contextOf(bundle: StoredBundle, settings: Settings): Int {
    val most = bundle.context
    val wished = settings.contextTokens.takeIf { it > 0 }
    return if (most == null) wished ?: USUAL_CONTEXT else minOf(wished ?: most, most)
}

/** What is asked of the engine; [attempt] counts tries on the same text, each of which draws anew. */
fun requestFor(choice: Choice, settings: Settings, text: String, attempt: Int): GenerationRequest {
    val context = contextOf(choice.bundle, settings)
    val window = (context * settings.windowPercent / 100).coerceAtLeast(1)
    return GenerationRequest(
        text = text,
        sampling = settings.sampling().let { it.copy(seed = it.seed + attempt) },
        windowTokens = window,
        outputTokens = settings.suggestionTokens.coerceIn(1, maxOf(1, context - window)),
        adapterPath = choice.adapter?.file?.path?.takeIf { isNative(choice, settings) },
        words = WordList.parse(settings.words),
    )
}

private fun ranksOf(bundle: StoredBundle): List<Int> = bundle.litertLm?.let { listOfNotNull(it.lora?.rank) } ?: bundle.manifest?.lora?.ranks.orEmpty()

/** Makes the engine ready for a choice: opens it, or merges first. */
class ModelSwitch(private val container: AppContainer) {
    private var cancel = CancelSignal()

    /** Copies made since the repository was last read, by the ids of bundle and adapter; else each completion would ask for a merge. */
    private val made = ConcurrentHashMap<Pair<String, String>, MergedCopy>()

    /** What has grown stays so while its bundle is open. */
    private var grown: Pair<String, CacheLength>? = null

    /**
     * Cheap if the engine is open for just this. [progress] is told in percent, on the screen's thread, when a copy has to be made.
     *
     * [tokens]: how many the next text may need, if there is one.
     */
    fun apply(choice: Choice, settings: Settings, contents: Contents, tokens: Int = 0, progress: (Int) -> Unit) {
        val adapter = choice.adapter
        container.figures.turnTo(choice.bundle.name, adapter?.name)
        val copy = adapter?.let {
            (contents.mergedCopy(choice.bundle, it) ?: made[choice.bundle.id to it.id])?.takeIf { copy -> copy.file.exists() }
        }
        when {
            adapter == null || isNative(choice, settings) ->
                container.controller.open(optionsFor(choice, settings, choice.bundle, length(choice.bundle, settings, tokens)))

            copy != null -> container.controller.open(optionsFor(choice, settings, copy))

            else -> merge(choice, adapter, settings, progress)
        }
    }

    /** Generate with what [apply] opens, for [request]. Returns the number that its events bear. */
    fun generate(choice: Choice, settings: Settings, contents: Contents, request: GenerationRequest, progress: (Int) -> Unit): Long {
        apply(choice, settings, contents, tokensFor(request), progress)
        return container.controller.generate(request)
    }

    private fun length(bundle: StoredBundle, settings: Settings, tokens: Int): Int {
        val first = cacheOf(bundle, settings)
        val before = grown?.takeIf { it.first == bundle.id && it.second.most == first.most && it.second.step == first.step }?.second
        return (before ?: first).holding(tokens).also { grown = bundle.id to it }.tokens
    }

    /** Stop a merge that is running. */
    fun cancelMerge() = cancel.cancel()

    private fun merge(choice: Choice, adapter: StoredAdapter, settings: Settings, progress: (Int) -> Unit) {
        val signal = CancelSignal()
        cancel = signal
        container.controller.merge {
            var last = -1
            val told = Progress { done, total ->
                val percent = if (total == null || total <= 0) 0 else (done * 100 / total).toInt()
                if (percent != last) container.screen.execute { progress(percent) }
                last = percent
            }
            val copy = container.repository.merge(choice.bundle, adapter, told, signal)
            made[choice.bundle.id to adapter.id] = copy
            optionsFor(choice, settings, copy)
        }
    }
}
