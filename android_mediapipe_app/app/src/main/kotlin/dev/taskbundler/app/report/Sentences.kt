package dev.taskbundler.app.report

import android.content.Context
import dev.taskbundler.app.R
import dev.taskbundler.app.state.Notice
import dev.taskbundler.app.state.TextProblem
import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.FailureKind
import dev.taskbundler.core.engine.RefusalReason
import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.writing.CompletionState

/** What [notice] says, in the user's language. */
fun sentence(context: Context, notice: Notice): String = breakable(words(context, notice))

private fun words(context: Context, notice: Notice): String = when (notice) {
    is Notice.Found -> filled(context.getString(findingSentence(notice.finding.code)), notice.finding)

    is Notice.Refused -> context.getString(refusalSentence(notice.refusal.reason)).replace(DETAIL, notice.refusal.detail)

    is Notice.Failed -> context.getString(failureSentence(notice.failure.kind)).replace(DETAIL, notice.failure.message)

    is Notice.State -> context.getString(stateSentence(notice.state))

    is Notice.Merging -> context.getString(R.string.notice_merging, notice.adapter, notice.percent)

    is Notice.Importing ->
        notice.percent?.let { context.getString(R.string.notice_importing_percent, notice.name, it) }
            ?: context.getString(R.string.notice_importing, notice.name)

    is Notice.Imported -> context.getString(R.string.notice_imported, notice.item.name)

    is Notice.Deleted -> context.getString(R.string.notice_deleted, notice.name)

    is Notice.SafeMode -> safeMode(context, notice)

    is Notice.Unexpected -> context.getString(R.string.notice_unexpected, notice.what)

    Notice.NothingWritten -> context.getString(R.string.notice_nothing_written)

    Notice.NoBundle -> context.getString(R.string.notice_no_bundle)

    Notice.Cancelled -> context.getString(R.string.notice_cancelled)

    is Notice.TextRefused -> context.getString(textSentence(notice.problem))

    is Notice.TextTooShort -> context.getString(R.string.teach_text_short, notice.found, notice.needed)

    Notice.NoTrainer -> context.getString(R.string.teach_no_trainer)

    Notice.NameTaken -> context.getString(R.string.teach_name_taken)

    is Notice.Kept -> context.getString(R.string.teach_kept, notice.name)

    Notice.NothingLearnt -> context.getString(R.string.teach_nothing)
}

/** The sentence of a finding, in the user's language. */
fun sentence(context: Context, finding: Finding): String = sentence(context, Notice.Found(finding))

private const val DETAIL = "{detail}"

/** Put the finding's arguments into the places that are named after them. */
private fun filled(pattern: String, finding: Finding): String =
    finding.arguments.entries.fold(pattern) { text, (name, value) -> text.replace("{$name}", value.toString()) }

private fun safeMode(context: Context, notice: Notice.SafeMode): String {
    val tried = notice.unfinished
    val step = if (tried.step == "open") R.string.step_open else R.string.step_first_answer
    val processor = if (tried.backend == Backend.GPU) R.string.gpu else R.string.cpu
    val name = tried.modelPath.substringAfterLast('/')
    val told = context.getString(R.string.notice_safe_mode, context.getString(step), name, context.getString(processor))
    return lastExit(context)?.let { told + " " + context.getString(R.string.safe_mode_reason, it) } ?: told
}

/** The sentence for a state of the engine. */
fun stateSentence(state: CompletionState): Int = when (state) {
    CompletionState.IDLE -> R.string.state_idle
    CompletionState.LOADING -> R.string.state_loading
    CompletionState.READY -> R.string.state_ready
    CompletionState.GENERATING -> R.string.state_generating
    CompletionState.STOPPING -> R.string.state_stopping
    CompletionState.MERGING -> R.string.state_merging
    CompletionState.FAILED -> R.string.state_failed
}

private fun textSentence(problem: TextProblem): Int = when (problem) {
    TextProblem.EMPTY -> R.string.teach_text_empty
    TextProblem.NO_TEXT -> R.string.teach_text_binary
    TextProblem.TOO_LONG -> R.string.teach_text_long
}

private fun refusalSentence(reason: RefusalReason): Int = when (reason) {
    RefusalReason.RANKS_ON_CPU -> R.string.refusal_ranks_on_cpu
    RefusalReason.NO_RANKS_DECLARED -> R.string.refusal_no_ranks_declared
    RefusalReason.ENGINE_IGNORES_ADAPTERS -> R.string.refusal_engine_ignores_adapters
    RefusalReason.ENGINE_CANNOT_OPEN -> R.string.refusal_engine_cannot_open
    RefusalReason.NO_ZERO_ADAPTER -> R.string.refusal_no_zero_adapter
    RefusalReason.TOP_K_TOO_LARGE -> R.string.refusal_top_k_too_large
    RefusalReason.CONTEXT_TOO_SMALL -> R.string.refusal_context_too_small
    RefusalReason.NO_MODEL -> R.string.refusal_no_model
    RefusalReason.BUSY -> R.string.refusal_busy
    RefusalReason.ENGINE_STUCK -> R.string.refusal_engine_stuck
    RefusalReason.NOTHING_TO_CONTINUE -> R.string.refusal_nothing_to_continue
    RefusalReason.LISTED_WORD -> R.string.refusal_listed_word
    RefusalReason.TEACHING -> R.string.refusal_teaching
}

private fun failureSentence(kind: FailureKind): Int = when (kind) {
    FailureKind.TRUNCATED_FILE -> R.string.failure_truncated_file
    FailureKind.NOT_MAPPED -> R.string.failure_not_mapped
    FailureKind.WRONG_FILE -> R.string.failure_wrong_file
    FailureKind.OUT_OF_MEMORY -> R.string.failure_out_of_memory
    FailureKind.NO_GPU -> R.string.failure_no_gpu
    FailureKind.NO_NATIVE_LIBRARY -> R.string.failure_no_native_library
    FailureKind.CONTEXT_FULL -> R.string.failure_context_full
    FailureKind.ENGINE_BUSY -> R.string.failure_engine_busy
    FailureKind.NOT_ANSWERING -> R.string.failure_not_answering
    FailureKind.UNKNOWN -> R.string.failure_unknown
}
