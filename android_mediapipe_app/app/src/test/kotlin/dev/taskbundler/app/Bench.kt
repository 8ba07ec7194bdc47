package dev.taskbundler.app

import dev.taskbundler.app.figures.FigureBook
import dev.taskbundler.app.report.EventLog
import dev.taskbundler.app.settings.KeyValues
import dev.taskbundler.app.settings.SettingsStore
import dev.taskbundler.app.state.AppContainer
import dev.taskbundler.app.state.Contents
import dev.taskbundler.app.state.EventHub
import dev.taskbundler.app.state.FileRepository
import dev.taskbundler.app.write.DeskStore
import dev.taskbundler.app.write.WriteModel
import dev.taskbundler.app.write.WritePresenter
import dev.taskbundler.core.adapter.AdapterHeader
import dev.taskbundler.core.catalogue.ImportSource
import dev.taskbundler.core.catalogue.MergedCopy
import dev.taskbundler.core.catalogue.Sha256Sums
import dev.taskbundler.core.catalogue.Stored
import dev.taskbundler.core.catalogue.StoredAdapter
import dev.taskbundler.core.catalogue.StoredBundle
import dev.taskbundler.core.catalogue.StoredTrainer
import dev.taskbundler.core.engine.EngineController
import dev.taskbundler.core.engine.EngineOpener
import dev.taskbundler.core.engine.EngineOptions
import dev.taskbundler.core.engine.LoadMarker
import dev.taskbundler.core.engine.PieceListener
import dev.taskbundler.core.engine.Sampling
import dev.taskbundler.core.engine.SerialThread
import dev.taskbundler.core.engine.TextEngine
import dev.taskbundler.core.engine.TextSession
import dev.taskbundler.core.figures.ProcessMemory
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.Progress
import dev.taskbundler.core.litertlm.LitertLmBundle
import dev.taskbundler.core.task.BundleManifest
import dev.taskbundler.core.task.LlmParameters
import dev.taskbundler.core.task.LoraFacts
import dev.taskbundler.core.tflite.LoraInputs
import dev.taskbundler.core.training.TrainerFacts
import dev.taskbundler.core.training.TrainingMemory
import java.io.File
import java.util.concurrent.Executor

/** All threads of the app in one: what they are given waits until [settle], as it does on a phone until a tap has been dealt with. */
class Turns :
    SerialThread,
    Executor {
    private val tasks = ArrayDeque<() -> Unit>()

    override fun execute(task: Runnable) = post { task.run() }

    override fun post(task: () -> Unit) = tasks.addLast(task)

    override fun postDelayed(millis: Long, task: () -> Unit): () -> Unit = {}

    /** Run everything, and what comes of it. */
    fun settle() {
        while (true) (tasks.removeFirstOrNull() ?: return)()
    }
}

/** An engine whose answers the test writes. */
class PlayedEngine(private val settle: () -> Unit) :
    EngineOpener,
    TextEngine,
    TextSession {
    val opened = ArrayList<EngineOptions>()
    val adapters = ArrayList<String?>()
    val samplings = ArrayList<Sampling>()
    val prompts = ArrayList<String>()
    var openFailure: Throwable? = null
    var onOpen: () -> Unit = {}
    var onGenerate: () -> Unit = {}
    var isCancelled = false
    private var listener: PieceListener? = null

    private val isBusy get() = listener != null

    override val stripsLeadingSpace = false
    override val keepsAdapters = false

    override fun open(options: EngineOptions): TextEngine {
        opened += options
        onOpen()
        openFailure?.let { throw it }
        return this
    }

    override fun newSession(sampling: Sampling, adapterPath: String?): TextSession {
        adapters += adapterPath
        samplings += sampling
        isCancelled = false
        return this
    }

    override fun countTokens(text: String): Int? = null

    override fun generate(prompt: String, listener: PieceListener) {
        onGenerate()
        prompts += prompt
        this.listener = listener
    }

    override fun cancel() {
        isCancelled = true
    }

    override fun close() = check(!isBusy)

    fun write(vararg pieces: String) {
        settle()
        pieces.forEach { listener!!.onPiece(it) }
        settle()
    }

    fun end() = ended { it.onDone() }

    fun fault(cause: Throwable) = ended { it.onError(cause) }

    private fun ended(how: (PieceListener) -> Unit) {
        settle()
        val told = listener!!
        listener = null
        how(told)
        settle()
    }
}

/** A repository of things that are not there. */
class PlayedRepository : FileRepository {
    var contents = Contents()
    var importFailure: Throwable? = null
    var mergeFailure: FindingException? = null
    val merges = ArrayList<String>()
    val hashes = ArrayList<String?>()
    val deleted = ArrayList<Stored>()
    val taught = ArrayList<List<Float>>()
    var whileMerging: (CancelSignal) -> Unit = {}

    override fun contents() = contents

    override fun import(source: ImportSource, sums: Sha256Sums?, progress: Progress, cancel: CancelSignal): Stored {
        progress.at(50, 100)
        hashes += sums?.of(source.name)
        importFailure?.let { throw it }
        return bundle(source.name).also { contents = contents.copy(bundles = contents.bundles + it) }
    }

    override fun merge(bundle: StoredBundle, adapter: StoredAdapter, progress: Progress, cancel: CancelSignal): MergedCopy {
        merges += "${bundle.name}+${adapter.name}"
        progress.at(1, 2)
        whileMerging(cancel)
        cancel.check()
        mergeFailure?.let { throw it }
        val file = File.createTempFile("merged", ".task").apply { deleteOnExit() }
        return MergedCopy("m", file.name, file, 10, bundle.id, adapter.id).also { contents = contents.copy(merged = contents.merged + it) }
    }

    override fun delete(item: Stored) {
        deleted += item
        contents = contents.copy(adapters = contents.adapters.filter { it.id != item.id })
    }

    override fun encoder(bundle: StoredBundle): ((String) -> IntArray?)? =
        if (bundle.litertLm == null) null else { text -> IntArray(text.length) { text[it].code } }

    override fun putTaught(trainer: StoredTrainer, name: String, vector: FloatArray, scaling: Double): StoredAdapter {
        taught += vector.asList()
        return adapter(name).copy(id = "taught", isKept = false).also { contents = contents.copy(adapters = contents.adapters + it) }
    }

    override fun keep(adapter: StoredAdapter, name: String): StoredAdapter =
        adapter(name).also { contents = contents.copy(adapters = contents.adapters.filter { it.isKept } + it) }
}

fun bundle(name: String, context: Int? = 256, ranks: List<Int> = listOf(16)): StoredBundle {
    val lora = LoraFacts("f", 2, 8, listOf(1.0, 1.0), ranks, null, emptyList(), null)
    return StoredBundle(name, name, File("/models/$name"), 1000, LlmParameters(), BundleManifest(name, "int8", context, lora), null)
}

/** A `.litertlm`; [rank] is that of the adapters it takes, null if it takes none. */
fun litertLm(name: String, rank: Int? = 16, context: Int? = 256, growth: Int? = null): StoredBundle {
    val facts = LitertLmBundle(LlmParameters(), context, rank?.let { LoraInputs(2, 8, it) }, "f", growth)
    return StoredBundle(name, name, File("/models/$name"), 1000, facts.tokens, null, null, facts, rank?.let { File("/models/zero") })
}

fun adapter(name: String, rank: Int = 16) =
    StoredAdapter(name, name, File("/models/$name"), 100, AdapterHeader(name, 2, 8, rank, listOf(1.0, 1.0), 16.0, "mit", "f"))

fun trainer(name: String, rank: Int = 16) =
    StoredTrainer(name, name, File("/models/$name"), 500, TrainerFacts(2, 8, rank, 4, listOf(1.0, 1.0), "f", TrainingMemory(500, 4000, 40, 2)))

class MemoryValues : KeyValues {
    val map = HashMap<String, String>()

    override fun get(key: String) = map[key]

    override fun put(values: Map<String, String>) = map.putAll(values)
}

/** A container in [folder] where everything happens at once. */
class Bench(folder: File) {
    val turns = Turns()
    val engine = PlayedEngine(turns::settle)
    val repository = PlayedRepository()
    val markerFile = File(folder, "tried")
    val values = MemoryValues()
    private val events = EventHub(turns) { nanos }
    private val marker = LoadMarker(markerFile)

    /** What the process takes, and what its clock says. */
    var memory = ProcessMemory(pss = 6, nativeHeap = 5, graphics = 4, resident = 3, peak = 2, mapped = 1)
    var nanos = 0L
    val desks = DeskStore(File(folder, "texts"), File(folder, "draft"))
    val container = AppContainer(
        repository,
        turns,
        turns,
        EngineController(engine, turns, events, marker),
        events,
        marker,
        SettingsStore(values),
        EventLog(File(folder, "log")),
        memory = { 5L },
        figures = FigureBook(events, turns, turns, { memory }, { nanos }),
    )
    private val presenter = WritePresenter(container, desks, turns)

    /** The presenter, while what was done before still waits. */
    val unsettled get() = presenter

    /** The presenter, all that was done before settled. */
    val writing: WritePresenter
        get() {
            settle()
            return presenter
        }

    /** The last thing the writing screen showed. */
    var shown = WriteModel()
        get() {
            settle()
            return field
        }

    fun start(): Bench {
        presenter.start()
        presenter.attach { shown = it }
        settle()
        return this
    }

    fun settle() = turns.settle()
}
