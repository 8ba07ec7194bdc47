package dev.taskbundler.core.writing

/** What the app's model is doing. */
enum class CompletionState { IDLE, LOADING, READY, GENERATING, STOPPING, MERGING, FAILED }

/** What can happen to it. */
enum class CompletionEvent {
    /** A bundle is to be opened; one that is open is closed first. */
    LOAD,

    LOADED,

    GENERATE,

    /** The user, a limit or the watchdog wants an end. */
    STOP,

    /** The engine said that its answer is complete, cut short or not. */
    FINISHED,

    /** An adapter is to be merged into a copy of a bundle; an open engine is closed first, for its memory. */
    MERGE,

    /** The merged copy is whole, and is opened next. */
    MERGED,

    /** Merging was stopped by the user. */
    CANCELLED,

    /** Opening, merging or writing went wrong. */
    FAIL,

    CLOSE,
}

/** What an event leads to. */
sealed interface Transition {
    data class To(val state: CompletionState) : Transition

    /** The event has no place in this state; nothing changes. */
    data class Refused(val state: CompletionState, val event: CompletionEvent) : Transition
}

private val TRANSITIONS: Map<CompletionState, Map<CompletionEvent, CompletionState>> = mapOf(
    CompletionState.IDLE to mapOf(
        CompletionEvent.LOAD to CompletionState.LOADING,
        CompletionEvent.MERGE to CompletionState.MERGING,
        CompletionEvent.CLOSE to CompletionState.IDLE,
    ),
    CompletionState.LOADING to mapOf(
        CompletionEvent.LOADED to CompletionState.READY,
        CompletionEvent.FAIL to CompletionState.FAILED,
    ),
    CompletionState.READY to mapOf(
        CompletionEvent.LOAD to CompletionState.LOADING,
        CompletionEvent.GENERATE to CompletionState.GENERATING,
        CompletionEvent.MERGE to CompletionState.MERGING,
        CompletionEvent.FAIL to CompletionState.FAILED,
        CompletionEvent.CLOSE to CompletionState.IDLE,
    ),
    // A session that writes can be neither closed nor asked: only an end leads out of here.
    CompletionState.GENERATING to mapOf(
        CompletionEvent.STOP to CompletionState.STOPPING,
        CompletionEvent.FINISHED to CompletionState.READY,
        CompletionEvent.FAIL to CompletionState.FAILED,
    ),
    CompletionState.STOPPING to mapOf(
        CompletionEvent.FINISHED to CompletionState.READY,
        CompletionEvent.FAIL to CompletionState.FAILED,
    ),
    CompletionState.MERGING to mapOf(
        CompletionEvent.MERGED to CompletionState.LOADING,
        CompletionEvent.CANCELLED to CompletionState.IDLE,
        CompletionEvent.FAIL to CompletionState.FAILED,
    ),
    CompletionState.FAILED to mapOf(
        CompletionEvent.LOAD to CompletionState.LOADING,
        CompletionEvent.MERGE to CompletionState.MERGING,
        CompletionEvent.CLOSE to CompletionState.IDLE,
    ),
)

/** Where [event] leads from [state]. */
fun transition(state: CompletionState, event: CompletionEvent): Transition =
    TRANSITIONS.getValue(state)[event]?.let { Transition.To(it) } ?: Transition.Refused(state, event)
