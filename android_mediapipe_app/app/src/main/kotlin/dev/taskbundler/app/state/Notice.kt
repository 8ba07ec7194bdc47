package dev.taskbundler.app.state

import dev.taskbundler.core.catalogue.Stored
import dev.taskbundler.core.engine.EngineFailure
import dev.taskbundler.core.engine.LoadMarker
import dev.taskbundler.core.engine.Refusal
import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.writing.CompletionState

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

    /** Beyond what this app foresees; the log has more. */
    data class Unexpected(val what: String) : Notice
}
