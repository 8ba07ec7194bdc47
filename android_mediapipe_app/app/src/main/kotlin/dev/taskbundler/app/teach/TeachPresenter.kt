package dev.taskbundler.app.teach

import dev.taskbundler.app.state.AppContainer
import dev.taskbundler.app.state.Contents
import dev.taskbundler.app.state.Notice
import dev.taskbundler.app.write.WritePresenter
import dev.taskbundler.core.adapter.tokenizerProblem
import dev.taskbundler.core.catalogue.ImportSource
import dev.taskbundler.core.catalogue.Stored
import dev.taskbundler.core.catalogue.StoredBundle
import dev.taskbundler.core.catalogue.StoredTrainer
import dev.taskbundler.core.engine.EngineFailure
import dev.taskbundler.core.engine.EngineObserver
import dev.taskbundler.core.engine.FailureKind
import dev.taskbundler.core.engine.Refusal
import dev.taskbundler.core.engine.RefusalReason
import dev.taskbundler.core.engine.SerialThread
import dev.taskbundler.core.engine.failureOf
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.training.TextTooShortException
import dev.taskbundler.core.training.TrainerOpener
import dev.taskbundler.core.training.Training
import dev.taskbundler.core.training.TrainingPlan
import dev.taskbundler.core.training.checkLength

/** What trains, where, and how much memory the phone has left, in bytes; null if it does not say. */
class Classroom(val trainers: TrainerOpener, val thread: SerialThread, val freeBytes: () -> Long?)

/**
 * The teaching screen without its views: an adapter for the bundle that writes, taught from a text of the user's.
 *
 * Lives as long as the process, so turning the phone changes nothing. The engine that writes is closed meanwhile: its memory is needed. All
 * functions are for the screen's thread.
 */
class TeachPresenter(private val container: AppContainer, private val writing: WritePresenter, private val classroom: Classroom) : EngineObserver {
    private var screen: TeachScreen? = null

    /** What is shown. */
    var model = TeachModel()
        private set
    private var contents = Contents()
    private var cancel = CancelSignal()

    /** Whether the engine that writes has not given its memory back yet. */
    private var isWaiting = false

    @Volatile
    private var isMemoryShort = false

    /** Of the last teaching in this process, for the adapter of this id. */
    private var lesson: Pair<String, Lesson>? = null

    fun attach(screen: TeachScreen) {
        this.screen = screen
        if (this !in container.events.listeners) container.events.listeners += this
        screen.show(model)
        refresh(model.notice)
    }

    fun detach(screen: TeachScreen) {
        if (this.screen === screen) this.screen = null
    }

    fun edited(text: String) = update { it.copy(text = text) }

    fun steps(steps: String) = update { it.copy(steps = steps) }

    fun named(name: String) = update { it.copy(name = name) }

    /** Read a file that was picked, in the place of what was pasted. */
    fun take(source: ImportSource) = container.files.post {
        val read = outcome { Document(source.name, readText(source)) }
        container.screen.execute {
            read.first?.let { document -> show(model.copy(document = document, notice = null)) }
            read.second?.let { show(model.copy(notice = it)) }
        }
    }

    /** Back to the text that is pasted. */
    fun dropDocument() = show(model.copy(document = null))

    /** Teach, unless something is in the way, which is said. */
    fun begin() {
        val bundle = bundle()
        val steps = model.stepCount
        val trainer = bundle?.let(::trainerFor)
        if (!model.canBegin || steps == null || bundle == null || trainer == null) return
        val text = try {
            checkText(model.document?.text ?: model.text)
        } catch (problem: TextException) {
            return show(model.copy(notice = Notice.TextRefused(problem.problem)))
        }
        cancel = CancelSignal()
        isMemoryShort = false
        isWaiting = true
        val name = model.document?.name?.substringBeforeLast('.')?.ifBlank { null } ?: UNNAMED
        val course = Course(bundle, trainer, name, text, TrainingPlan(steps, warmup = minOf(MOST_WARMUP, steps / WARMUP_PART)), cancel)
        show(model.copy(phase = TeachPhase.PREPARING, progress = null, notice = null))
        container.log.add("teach ${trainer.name} $steps steps")
        container.controller.hold {
            container.screen.execute { isWaiting = false }
            classroom.thread.post { teach(course) }
        }
    }

    /** End after the sequence that is computed; what was learnt by then is there to be tried. */
    fun stop() {
        if (!model.isBusy) return
        cancel.cancel()
        show(model.copy(phase = TeachPhase.STOPPING))
    }

    /** The phone is short of memory: end the same way, and say why. */
    fun endForMemory() {
        if (!model.isBusy) return
        isMemoryShort = true
        stop()
    }

    /** Let the writing screen write in the taught voice. */
    fun tryOut() {
        model.taught?.let { writing.choose(it.adapter.id) }
    }

    /** Keep what was taught, under the name that stands there. */
    fun keep() {
        val taught = model.taught ?: return
        val name = model.name.trim()
        if (name.isEmpty() || contents.adapters.any { it.isKept && it.name.substringBeforeLast('.') == name }) {
            return show(model.copy(notice = Notice.NameTaken))
        }
        val isChosen = writing.choice?.adapter?.id == taught.adapter.id
        if (isChosen) writing.release(taught.adapter)
        container.files.post {
            val (kept, problem) = outcome { container.repository.keep(taught.adapter, name) }
            container.screen.execute {
                writing.reload()
                if (kept != null && isChosen) container.files.post { container.screen.execute { writing.choose(kept.id) } }
                refresh(problem ?: kept?.let { Notice.Kept(it.name) })
            }
        }
    }

    /** Delete what was taught. */
    fun discard() {
        val taught = model.taught ?: return
        writing.release(taught.adapter)
        container.files.post {
            val problem = outcome { container.repository.delete(taught.adapter) }.second
            container.screen.execute {
                writing.reload()
                refresh(problem ?: Notice.Deleted(taught.adapter.name))
            }
        }
    }

    // The engine has not ended an answer, or does not now, so its memory cannot be had.
    override fun onRefused(id: Long?, refusal: Refusal) {
        if (isWaiting && refusal.reason == RefusalReason.ENGINE_STUCK) giveUp(Notice.Refused(refusal))
    }

    override fun onFailed(id: Long?, failure: EngineFailure) {
        if (isWaiting && failure.kind == FailureKind.NOT_ANSWERING) giveUp(Notice.Failed(failure))
    }

    private fun giveUp(notice: Notice) {
        isWaiting = false
        show(model.copy(phase = TeachPhase.BEFORE, notice = notice))
    }

    /** What is taught from what, how, and until when. */
    private class Course(
        val bundle: StoredBundle,
        val trainer: StoredTrainer,
        val name: String,
        val text: String,
        val plan: TrainingPlan,
        val signal: CancelSignal,
    )

    /** On the classroom's thread. */
    private fun teach(course: Course) {
        val (result, problem) = outcome { learn(course) }
        container.controller.release()
        container.screen.execute {
            // Read first: writing in the taught voice is offered at once.
            writing.reload()
            if (result != null) lesson = result.first.id to result.second
            container.log.add("taught ${result?.second?.let { "${it.steps} ${it.end}" } ?: problem}")
            model = model.copy(phase = TeachPhase.BEFORE, name = result?.first?.name?.substringBeforeLast('.').orEmpty())
            refresh(problem ?: Notice.NothingLearnt.takeIf { result == null })
        }
    }

    /** Null if nothing was learnt. */
    private fun learn(course: Course): Pair<Stored, Lesson>? {
        val trainer = course.trainer
        val tokens = tokens(course)
        checkLength(tokens, trainer.facts.length)
        var loss: Float? = null
        val trained = classroom.trainers.open(trainer.file, trainer.facts).use { engine ->
            container.figures.teaching(course.bundle.name) {
                Training(engine, course.plan, tokens).run({ progress ->
                    loss = progress.loss
                    container.screen.execute { if (model.isBusy) show(model.copy(phase = working(), progress = progress)) }
                }, course.signal)
            }
        }
        if (trained.steps == 0) return null
        val adapter = container.repository.putTaught(trainer, course.name, trained.adapter, course.plan.scaling)
        return adapter to Lesson(trained.steps, course.plan.steps, trained.end, loss, trained.before, trained.after, isMemoryShort)
    }

    private fun working() = if (model.phase == TeachPhase.STOPPING) TeachPhase.STOPPING else TeachPhase.TRAINING

    /** A `.task` has a tokenizer of another kind, so a `.litertlm` of the same model gives the tokens. */
    private fun tokens(course: Course): IntArray {
        val sources = listOf(course.bundle) + container.repository.contents().bundles.filter {
            it.litertLm?.baseFingerprint != null && it.litertLm?.baseFingerprint == course.trainer.facts.fingerprint
        }
        val encode = sources.firstNotNullOfOrNull { container.repository.encoder(it) }
        return encode?.invoke(course.text) ?: throw FindingException(tokenizerProblem(course.bundle.name))
    }

    private fun bundle() = writing.choice?.bundle ?: contents.bundles.firstOrNull()

    private fun trainerFor(bundle: StoredBundle) = contents.trainers.find { (it.id to bundle.id) !in contents.trainerMisfits }

    private fun refresh(notice: Notice?) = container.files.post {
        val (now, problem) = outcome { container.repository.contents() }
        container.screen.execute {
            contents = now ?: contents
            show(model.copy(notice = problem ?: notice))
        }
    }

    /** What [work] gives, or what to say of its failure. */
    private fun <T> outcome(work: () -> T): Pair<T?, Notice?> = try {
        work() to null
    } catch (short: TextTooShortException) {
        null to Notice.TextTooShort(short.found, short.needed)
    } catch (problem: TextException) {
        null to Notice.TextRefused(problem.problem)
    } catch (failure: FindingException) {
        container.log.add("found ${failure.finding.code.id}: ${failure.message}")
        null to Notice.Found(failure.finding)
    } catch (failure: Throwable) {
        // The native library throws what it likes, as does a provider of documents; want of memory is an Error.
        container.log.add("$failure")
        null to Notice.Failed(failureOf(failure, "Teaching"))
    }

    private fun update(change: (TeachModel) -> TeachModel) {
        val next = change(model)
        if (next != model) show(next)
    }

    private fun show(next: TeachModel) {
        val bundle = bundle()
        val trainer = bundle?.let(::trainerFor)
        val taught = contents.taught
        val phase = when {
            next.isBusy -> next.phase
            taught != null -> TeachPhase.TAUGHT
            else -> TeachPhase.BEFORE
        }
        model = next.copy(
            phase = phase,
            subject = trainer?.let { Subject(bundle.name, it.facts.rank, it.facts.memory, classroom.freeBytes()) },
            obstacle = if (trainer == null) obstacle(bundle) else null,
            taught = taught?.let { adapter -> Taught(adapter, lesson?.takeIf { it.first == adapter.id }?.second) },
            name = if (taught != null && phase != model.phase && next.name.isEmpty()) taught.name.substringBeforeLast('.') else next.name,
        )
        screen?.show(model)
    }

    private fun obstacle(bundle: StoredBundle?): Notice = when {
        bundle == null -> Notice.NoBundle
        contents.trainers.isEmpty() -> Notice.NoTrainer
        else -> contents.trainers.firstNotNullOfOrNull { contents.trainerMisfits[it.id to bundle.id] }?.let { Notice.Found(it) } ?: Notice.NoTrainer
    }

    private companion object {
        /** Steps in which the learning rate rises: a fifth, at most. */
        const val WARMUP_PART = 5
        const val MOST_WARMUP = 20

        const val UNNAMED = "taught"
    }
}
