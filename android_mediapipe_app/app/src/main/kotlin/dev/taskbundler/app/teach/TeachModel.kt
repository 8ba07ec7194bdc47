package dev.taskbundler.app.teach

import dev.taskbundler.app.state.Notice
import dev.taskbundler.core.catalogue.StoredAdapter
import dev.taskbundler.core.training.TrainingEnd
import dev.taskbundler.core.training.TrainingMemory
import dev.taskbundler.core.training.TrainingProgress

/** Where a teaching is: before it, waiting for the engine's memory or reading, in its steps, asked to stop, and after it. */
enum class TeachPhase { BEFORE, PREPARING, TRAINING, STOPPING, TAUGHT }

/** What is taught: adapters of [rank] for [bundle], and about what that takes; [freeBytes]: what the phone has now, if it says. */
data class Subject(val bundle: String, val rank: Int, val memory: TrainingMemory, val freeBytes: Long?)

/** A text that was read from a file. */
data class Document(val name: String, val text: String)

/** How a teaching went. [loss] is the last step's, in nats; perplexities are null where they were not measured. */
data class Lesson(
    val steps: Int,
    val ofSteps: Int,
    val end: TrainingEnd,
    val loss: Float?,
    val before: Double?,
    val after: Double?,
    /** Whether it was ended because the phone was short of memory. */
    val isMemoryShort: Boolean,
)

/** An adapter to be tried, and then kept or not; [lesson] is null if another process has taught it. */
data class Taught(val adapter: StoredAdapter, val lesson: Lesson?)

/** Everything that the teaching screen shows. */
data class TeachModel(
    val phase: TeachPhase = TeachPhase.BEFORE,
    /** Null while nothing can be taught; then [obstacle] says why, once that is known. */
    val subject: Subject? = null,
    val obstacle: Notice? = null,
    /** What was pasted or typed; not used while there is a [document]. */
    val text: String = "",
    val document: Document? = null,
    val steps: String = "$USUAL_STEPS",
    val progress: TrainingProgress? = null,
    val taught: Taught? = null,
    val name: String = "",
    val notice: Notice? = null,
) {
    val isBusy get() = phase == TeachPhase.PREPARING || phase == TeachPhase.TRAINING || phase == TeachPhase.STOPPING
    val stepCount get() = steps.trim().toIntOrNull()?.takeIf { it in STEPS }
    val canBegin get() = phase == TeachPhase.BEFORE && subject != null && stepCount != null
    val canKeep get() = phase == TeachPhase.TAUGHT && name.isNotBlank()
}

/** How many steps may be asked for, and how many are at first. */
val STEPS = 1..1000
const val USUAL_STEPS = 100

/** The screen of a [TeachPresenter]. */
fun interface TeachScreen {
    fun show(model: TeachModel)
}
