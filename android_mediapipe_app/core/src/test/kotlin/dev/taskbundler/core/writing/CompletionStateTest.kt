package dev.taskbundler.core.writing

import dev.taskbundler.core.writing.CompletionEvent.CANCELLED
import dev.taskbundler.core.writing.CompletionEvent.CLOSE
import dev.taskbundler.core.writing.CompletionEvent.FAIL
import dev.taskbundler.core.writing.CompletionEvent.FINISHED
import dev.taskbundler.core.writing.CompletionEvent.GENERATE
import dev.taskbundler.core.writing.CompletionEvent.LOAD
import dev.taskbundler.core.writing.CompletionEvent.LOADED
import dev.taskbundler.core.writing.CompletionEvent.MERGE
import dev.taskbundler.core.writing.CompletionEvent.MERGED
import dev.taskbundler.core.writing.CompletionEvent.STOP
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

class CompletionStateTest {
    /** One row per state, one column per event: the first letters of the state it leads to, a dot where it is refused. */
    private val table = """
                   LOAD LOADED GENERATE STOP FINISHED MERGE MERGED CANCELLED FAIL CLOSE
        IDLE       LO   .      .        .    .        ME    .      .         .    ID
        LOADING    .    RE     .        .    .        .     .      .         FA   .
        READY      LO   .      GE       .    .        ME    .      .         FA   ID
        GENERATING .    .      .        ST   RE       .     .      .         FA   .
        STOPPING   .    .      .        .    RE       .     .      .         FA   .
        MERGING    .    .      .        .    .        .     LO     ID        FA   .
        FAILED     LO   .      .        .    .        ME    .      .         .    ID
    """.trimIndent().lines().map {
        it.trim().split(Regex(" +"))
    }

    @Test
    fun `every state and event does what the table says`() {
        val events = table.first().map { CompletionEvent.valueOf(it) }
        assertEquals(CompletionEvent.entries.toSet(), events.toSet())
        assertEquals(CompletionState.entries.map { it.name }, table.drop(1).map { it.first() })
        for (row in table.drop(1)) {
            val state = CompletionState.valueOf(row.first())
            events.zip(row.drop(1)).forEach { (event, cell) ->
                val expected = if (cell ==
                    "."
                ) {
                    Transition.Refused(state, event)
                } else {
                    Transition.To(CompletionState.entries.single { it.name.startsWith(cell) })
                }
                assertEquals("$state $event", expected, transition(state, event))
            }
        }
    }

    @Test
    fun `no busy state can be left by closing or loading`() {
        for (state in listOf(CompletionState.LOADING, CompletionState.GENERATING, CompletionState.STOPPING, CompletionState.MERGING)) {
            for (event in listOf(LOAD, CLOSE, MERGE, GENERATE)) assertEquals(Transition.Refused(state, event), transition(state, event))
        }
    }

    @Test
    fun `every state can be reached and left`() {
        val seen = HashSet<CompletionState>()
        var open = setOf(CompletionState.IDLE)
        while (seen.addAll(open)) {
            open = open.flatMapTo(HashSet()) { state -> CompletionEvent.entries.mapNotNull { (transition(state, it) as? Transition.To)?.state } }
        }
        assertEquals(CompletionState.entries.toSet(), seen)
        for (state in CompletionState.entries) assertTrue(CompletionEvent.entries.any { (transition(state, it) as? Transition.To)?.state != state })
    }

    @Test
    fun `an afternoon`() {
        val written = listOf(LOAD, LOADED, GENERATE, FINISHED, GENERATE, STOP, FINISHED)
        val merged = listOf(MERGE, MERGED, LOADED, MERGE, CANCELLED, LOAD, FAIL, LOAD, LOADED, CLOSE)
        var state = CompletionState.IDLE
        for (event in written + merged) state = (transition(state, event) as Transition.To).state
        assertEquals(CompletionState.IDLE, state)
    }
}
