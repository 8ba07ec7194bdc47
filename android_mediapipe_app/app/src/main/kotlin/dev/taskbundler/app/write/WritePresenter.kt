package dev.taskbundler.app.write

import dev.taskbundler.app.state.AppContainer
import dev.taskbundler.app.state.Choice
import dev.taskbundler.app.state.Contents
import dev.taskbundler.app.state.Notice
import dev.taskbundler.app.state.requestFor
import dev.taskbundler.core.catalogue.Stored
import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.Completion
import dev.taskbundler.core.engine.EndReason
import dev.taskbundler.core.engine.EngineFailure
import dev.taskbundler.core.engine.EngineObserver
import dev.taskbundler.core.engine.FailureKind
import dev.taskbundler.core.engine.Refusal
import dev.taskbundler.core.engine.RefusalReason
import dev.taskbundler.core.engine.SerialThread
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.writing.CompletionState
import dev.taskbundler.core.writing.Manuscript
import dev.taskbundler.core.writing.Texts
import java.io.IOException

/**
 * The writing screen without its views: what happens when something is tapped, and what is then shown.
 *
 * Lives as long as the process, so turning the phone changes nothing. All functions are for the screen's thread.
 */
class WritePresenter(
    private val container: AppContainer,
    private val desks: DeskStore,
    /** Saves the texts; not the thread for files, on which an import can take minutes. */
    private val saving: SerialThread,
) : EngineObserver {
    private var screen: WriteScreen? = null
    private var model = WriteModel()

    /** What is in the repository, as it was last read. */
    var contents = Contents()
        private set
    private var bundleId: String? = null
    private var adapterId: String? = null

    /** The running generation; events of others are not for this screen. */
    private var generation: Long? = null
    private var attempt = 0

    /** The open one may have been changed since; [desk] has it as it is. */
    private var texts = Texts()

    /** What is to be on the disk, whichever thread comes to write it. */
    @Volatile
    private var latest = Desk()

    /** Whether the texts were read; before that, what is to be saved would replace them. */
    var hasRead = false
        private set

    /** Takes back that the engine is closed when the screen has not been seen for a while. */
    private var unloading: () -> Unit = {}
    private var hasStarted = false

    /** Whether the choice was opened or tried: what failed or was stopped is not begun again by itself. */
    private var hasTried = false

    /** Which bundle writes next, and with which adapter. */
    val choice get() = contents.bundle(bundleId)?.let { Choice(it, contents.adapter(adapterId)) }

    /** The text that is open. */
    val draft get() = model.manuscript

    /** What is written and chosen now. */
    val desk get() = Desk(texts.changed(draft), bundleId, adapterId)

    /** Read the texts and the repository, and open the bundle that was chosen last, unless that killed the app. */
    fun start() {
        if (hasStarted) return reload()
        hasStarted = true
        container.events.listeners += this
        saving.post {
            val read = desks.read()
            container.screen.execute {
                bundleId = read.bundleId
                adapterId = read.adapterId
                // Whoever was faster than the disk has written already: that is a text of its own.
                texts = if (draft == Manuscript()) read.texts else read.texts.added().changed(draft)
                hasRead = true
                show(model.copy(manuscript = texts.open.manuscript))
                reload()
            }
        }
    }

    fun attach(screen: WriteScreen) {
        unloading()
        this.screen = screen
        screen.show(model)
    }

    fun detach(screen: WriteScreen) {
        if (this.screen !== screen) return
        this.screen = null
        unloading = saving.postDelayed(UNLOADED_AFTER_MILLIS) { container.screen.execute { if (this.screen == null) unload() } }
    }

    /** Read what is in the repository again: something was imported or deleted, or the settings have changed. */
    fun reload() = container.files.post {
        try {
            val now = container.repository.contents()
            container.screen.execute { filled(now) }
        } catch (failure: FindingException) {
            container.screen.execute { show(model.copy(notice = Notice.Found(failure.finding))) }
        }
    }

    /** The user has made the text field read [shown]. */
    fun edited(shown: String) {
        if (shown == model.manuscript.shown) return
        stopWriting()
        show(model.copy(manuscript = model.manuscript.edited(shown), spoken = ""))
    }

    /** Let the model go on at [cursor], or else at the end; a suggestion that is there is taken. */
    fun complete(cursor: Int = NO_CURSOR) {
        if (!model.canContinue) return if (choice == null) show(model.copy(notice = Notice.NoBundle)) else Unit
        show(model.copy(manuscript = model.manuscript.accepted().at(cursor)))
        attempt = 0
        generate()
    }

    /** Another suggestion in the place of this one. */
    fun retry() {
        if (!model.canRetry) return
        show(model.copy(manuscript = model.manuscript.retried()))
        attempt++
        generate()
    }

    /** The suggestion before this one at the same place. */
    fun previous() = turnOver { it.previous() }

    /** The suggestion after this one at the same place. */
    fun next() = turnOver { it.next() }

    /** Stop writing or merging, whichever it is by the time this arrives. */
    fun stop() {
        container.switch.cancelMerge()
        container.controller.stop()
    }

    fun accept() = settle { it.accepted() }

    fun undo() = settle { it.undone() }

    /** Put [text], written elsewhere, after the text as a suggestion. */
    fun suggest(text: String) = settle { it.rejected().at(NO_CURSOR).grown(text) }

    /** Open a text of the list, as it was left. */
    fun openText(id: Int) = turnTo { it.opened(id) }

    /** Begin a new text. */
    fun newText() = turnTo { it.added() }

    fun deleteText(id: Int) = turnTo { it.without(id) }

    /** From the next completion on, write in this voice; null is the base. One that cannot be used with the bundle is told, and not chosen. */
    fun choose(adapterId: String?) {
        if (this.adapterId == adapterId) return
        contents.misfit(adapterId, bundleId)?.let { return show(model.copy(notice = Notice.Found(it))) }
        this.adapterId = adapterId
        attempt = 0
        applyWhenFree()
    }

    fun chooseBundle(id: String) {
        if (bundleId == id) return
        bundleId = id
        if (contents.fitting(contents.bundle(id)).none { it.id == adapterId }) adapterId = null
        attempt = 0
        applyWhenFree()
    }

    /** After a start in safe mode: try again, on the CPU if [onCpu]. */
    fun leaveSafeMode(onCpu: Boolean) {
        container.marker.forget()
        if (onCpu) container.settings.write(container.settings.read().copy(backend = Backend.CPU, nativeLora = false))
        show(model.copy(notice = null))
        applyWhenFree()
    }

    /** [item] is about to be deleted: nothing may have it open. */
    fun release(item: Stored) {
        if (item.id == bundleId || item.id == adapterId) {
            if (item.id == bundleId) bundleId = null
            adapterId = null
        }
        container.controller.close()
    }

    /** Write the texts to the disk. */
    fun save() {
        if (!hasRead) return
        latest = desk
        saving.post { write(latest) }
    }

    /** Give the engine's memory back, unless it is writing; the next completion opens it again. */
    fun unload() {
        if (model.isBusy || model.state == CompletionState.LOADING) return
        container.controller.close()
    }

    override fun onState(state: CompletionState) {
        val notice = model.notice
        // A failure stays to be read until something new is begun.
        val isNews = state == CompletionState.GENERATING || state == CompletionState.LOADING || notice is Notice.Merging || notice is Notice.State
        container.log.add("state $state")
        show(model.copy(state = state, notice = if (isNews || notice == null) Notice.State(state) else notice))
    }

    override fun onText(id: Long, text: String) {
        if (id != generation) return
        val manuscript = model.manuscript.grown(text)
        show(model.copy(manuscript = manuscript, spoken = speakable(manuscript.suggestion)))
    }

    override fun onFinished(id: Long, completion: Completion) {
        container.log.add("${completion.reason} ${completion.stats}")
        if (id != generation) return
        generation = null
        val notice = when {
            completion.text.isEmpty() && completion.reason == EndReason.DONE -> Notice.NothingWritten
            completion.reason == EndReason.FULL -> Notice.Failed(EngineFailure(FailureKind.CONTEXT_FULL, "Writing", "full"))
            completion.reason == EndReason.SILENT -> Notice.Failed(EngineFailure(FailureKind.NOT_ANSWERING, "Writing", "silent"))
            else -> model.notice
        }
        val figures = Figures(completion.stats, container.memory())
        val manuscript = model.manuscript.ended()
        show(model.copy(manuscript = manuscript, figures = figures, notice = notice, spoken = manuscript.suggestion))
        save()
        // Behind another screen, a comparison may have the engine by now, and would be stopped.
        if (screen != null) applyWhenFree()
    }

    override fun onRefused(id: Long?, refusal: Refusal) {
        container.log.add("refused ${refusal.reason}")
        if (id != null && id != generation) return
        if (id != null) generation = null
        // After a failure to open, the notice already says that no bundle is open.
        if (refusal.reason == RefusalReason.NO_MODEL && model.notice is Notice.Failed) return
        show(model.copy(notice = Notice.Refused(refusal)))
    }

    override fun onFailed(id: Long?, failure: EngineFailure) {
        container.log.add("${failure.kind}: ${failure.message}")
        if (id != null && id != generation) return
        if (id != null) generation = null
        val finding = (failure.cause as? FindingException)?.finding
        show(model.copy(notice = finding?.let { Notice.Found(it) } ?: Notice.Failed(failure)))
    }

    override fun onLog(line: String) = container.log.add(line)

    private fun generate() {
        val choice = choice ?: return
        val settings = container.settings.read()
        // Before the engine is asked, on its own thread: should the native library crash, the text is on the disk.
        latest = desk
        container.controller.before { write(latest) }
        hasTried = true
        val request = requestFor(choice, settings, model.manuscript.before, attempt)
        generation = container.switch.generate(choice, settings, contents, request, ::merging)
    }

    private fun settle(change: (Manuscript) -> Manuscript) {
        stopWriting()
        show(model.copy(manuscript = change(model.manuscript), spoken = ""))
        save()
    }

    private fun turnOver(change: (Manuscript) -> Manuscript) {
        if (model.isBusy || generation != null) return
        val manuscript = change(model.manuscript)
        show(model.copy(manuscript = manuscript, spoken = manuscript.suggestion))
        save()
    }

    /** What is written stays as it is where another text comes to be open. */
    private fun turnTo(change: (Texts) -> Texts) {
        if (!hasRead) return
        val before = desk.texts
        texts = change(before)
        if (texts.open.id != before.open.id) {
            stopWriting()
            show(model.copy(manuscript = texts.open.manuscript, figures = null, spoken = ""))
        } else {
            show(model)
        }
        save()
    }

    private fun stopWriting() {
        generation?.let { container.controller.stop() }
        // What the engine still sends belongs to a text that is no more.
        generation = null
        attempt = 0
    }

    private fun filled(now: Contents) {
        contents = now
        if (contents.bundle(bundleId) == null) bundleId = contents.bundles.firstOrNull()?.id
        if (contents.fitting(contents.bundle(bundleId)).none { it.id == adapterId }) adapterId = null
        val unfinished = container.marker.unfinished()
        val notice = when {
            unfinished != null -> Notice.SafeMode(unfinished)
            contents.bundles.isEmpty() -> Notice.NoBundle
            model.notice == Notice.NoBundle -> null
            else -> model.notice
        }
        show(model.copy(notice = notice))
        if (unfinished == null && (!hasTried || model.state == CompletionState.READY)) applyWhenFree()
    }

    /** Open what is chosen, now or when the running answer has ended. */
    private fun applyWhenFree() {
        show(model)
        val choice = choice ?: return
        if (model.isBusy || generation != null || container.marker.unfinished() != null) return
        hasTried = true
        container.switch.apply(choice, container.settings.read(), contents, progress = ::merging)
    }

    private fun write(desk: Desk) = try {
        desks.write(desk)
    } catch (failure: IOException) {
        container.log.add("the texts were not saved: $failure")
    }

    private fun merging(percent: Int) {
        val name = contents.adapter(adapterId)?.name ?: return
        if (model.state == CompletionState.MERGING) show(model.copy(notice = Notice.Merging(name, percent)))
    }

    private fun show(next: WriteModel) {
        val bundle = contents.bundle(bundleId)
        model = next.copy(
            bundles = contents.bundles.map { Chip(it.id, it.name, it.id == bundleId) },
            adapters = listOf(Chip(null, "", adapterId == null)) + contents.offered(bundle).map { Chip(it.id, it.name, it.id == adapterId) },
        )
        screen?.show(model)
    }

    private companion object {
        const val NO_CURSOR = -1
        const val UNLOADED_AFTER_MILLIS = 5 * 60_000L
    }
}
