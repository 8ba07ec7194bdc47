package dev.taskbundler.core.engine

/** Engines that throw, as the real ones do, when a rule is broken; what they write is told by the test. */
class StrictOpener : EngineOpener {
    val calls = ArrayList<String>()
    val opened = ArrayList<StrictEngine>()
    var failure: Throwable? = null
    var keepsAdapters = false
    var counts = true
    var onOpen: () -> Unit = {}

    val open get() = opened.filter { !it.isClosed }
    val session get() = opened.last().sessions.last()

    override fun open(options: EngineOptions): TextEngine {
        check(open.isEmpty()) { "a second engine beside an open one" }
        calls += "open ${options.modelPath}"
        onOpen()
        failure?.let { throw it }
        return StrictEngine(this).also { opened += it }
    }
}

class StrictEngine(val opener: StrictOpener) : TextEngine {
    val sessions = ArrayList<StrictSession>()
    var isClosed = false
    var sessionFailure: Throwable? = null
    var generateFailure: Throwable? = null

    override val stripsLeadingSpace = true

    override val keepsAdapters get() = opener.keepsAdapters

    val busy get() = sessions.any { it.isBusy }

    override fun newSession(sampling: Sampling, adapterPath: String?): TextSession {
        check(!isClosed && !busy) { "Previous invocation still processing. Wait for done=true." }
        check(sessions.all { it.isClosed }) { "a session already exists" }
        sessionFailure?.let { throw it }
        opener.calls += "session ${adapterPath ?: "base"}"
        return StrictSession(this).also { sessions += it }
    }

    override fun close() {
        check(!busy) { "Previous invocation still processing. Wait for done=true." }
        check(!isClosed && sessions.all { it.isClosed }) { "closed twice, or before its sessions" }
        isClosed = true
        opener.calls += "close"
    }
}

class StrictSession(private val engine: StrictEngine) : TextSession {
    var isBusy = false
    var isClosed = false
    var isCancelled = false
    var prompt = ""
    var counts = engine.opener.counts
    var cancelFailure: Throwable? = null
    private lateinit var listener: PieceListener

    override fun countTokens(text: String): Int? {
        check(!isBusy && !isClosed) { "Previous invocation still processing. Wait for done=true." }
        if (!counts) throw IllegalStateException("no tokenizer")
        return text.split(" ").count { it.isNotEmpty() }
    }

    override fun generate(prompt: String, listener: PieceListener) {
        check(!isBusy && !isClosed) { "Previous invocation still processing. Wait for done=true." }
        engine.generateFailure?.let { throw it }
        this.prompt = prompt
        this.listener = listener
        isBusy = true
        engine.opener.calls += "generate"
    }

    override fun cancel() {
        isCancelled = true
        cancelFailure?.let { throw it }
    }

    override fun close() {
        check(!isBusy && !isClosed) { "Previous invocation still processing. Wait for done=true." }
        isClosed = true
    }

    fun write(vararg pieces: String) = pieces.forEach { listener.onPiece(it) }

    fun done() {
        isBusy = false
        listener.onDone()
    }

    fun fault(cause: Throwable) {
        isBusy = false
        listener.onError(cause)
    }
}
