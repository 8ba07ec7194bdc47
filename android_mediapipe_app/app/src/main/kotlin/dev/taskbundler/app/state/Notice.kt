package dev.taskbundler.app.state

import dev.taskbundler.core.catalogue.Stored
import dev.taskbundler.core.engine.EngineFailure
import dev.taskbundler.core.engine.LoadMarker
import dev.taskbundler.core.engine.Refusal
import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.writing.CompletionState

/** What is wrong with a text that was to be taught from. */
enum class TextProblem { EMPTY, NO_TEXT, TOO_LONG }

/** Something to say to the user; the screens make a sentence of it in the user's language. */
sealed interface Notice {
    data class Found(val finding: Finding) : Notice

    data class Refused(val refusal: Refusal) : Notice

    data class Failed(val failure: EngineFailure) : Notice

    /** The last start was ended by the system while this was tried; it is not tried again by itself. */
    data class SafeMode(val unfinished: LoadMarker.Unfinished) : Notice

    data class State(val state: CompletionState) : Notice

    data class Merging(val adapter: String, val percent: Int) : Notice

    data class Importing(val name: String, val percent: Int?) : Notice

    data class Imported(val item: Stored) : Notice

    data class Deleted(val name: String) : Notice

    /** The model ended at once. */
    data object NothingWritten : Notice

    /** There is no bundle yet. */
    data object NoBundle : Notice

    data object Cancelled : Notice

    /** Nothing can be taught from this text. */
    data class TextRefused(val problem: TextProblem) : Notice

    /** In tokens. */
    data class TextTooShort(val found: Int, val needed: Int) : Notice

    /** No trainer has been imported. */
    data object NoTrainer : Notice

    /** The name for an adapter is empty, or another's. */
    data object NameTaken : Notice

    data class Kept(val name: String) : Notice

    /** Nothing was learnt before the teaching was stopped, or failed. */
    data object NothingLearnt : Notice

    /** Beyond what this app foresees; the log has more. */
    data class Unexpected(val what: String) : Notice
}
