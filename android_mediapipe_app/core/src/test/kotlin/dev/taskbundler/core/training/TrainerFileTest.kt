package dev.taskbundler.core.training

import dev.taskbundler.core.adapter.AdapterBuilder
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.assertRefused
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class TrainerFileTest {
    @get:Rule
    val folder = TemporaryFolder()

    private fun file(content: ByteArray) = folder.newFile().apply { writeBytes(content) }

    @Test
    fun `a trainer says what a training needs to know`() {
        val bytes = TrainerBuilder().build()
        val facts = readTrainer(file(bytes))
        assertEquals(listOf(2, 4, 2, 4, 96), listOf(facts.layers, facts.width, facts.rank, facts.length, facts.count))
        assertEquals(listOf(0.5, 0.5) to "f".repeat(64), facts.queryScale to facts.fingerprint)
    }

    @Test
    fun `its memory is the file, its weights, what lives at once in both graphs, and the state before and after a step`() {
        val bytes = TrainerBuilder().build()
        val memory = readTrainer(file(bytes)).memory
        // Widest after the second operator: the adapter, which lives from the first to the last, and two tensors of 100 and 50 numbers. The
        // tokens are needed by the first operator alone, and constants are in the file.
        val atOnce = 4L * (96 + 100 + 50)
        assertEquals(TrainingMemory(bytes.size.toLong(), 8 * 1000, 2 * atOnce, 8 * 4 * 96), memory)
        assertEquals(memory.mapped + memory.weights + memory.activations + memory.state, memory.total)
    }

    @Test
    fun `it is told from an adapter by its metadata`() {
        assertTrue(isTrainer(file(TrainerBuilder().build())))
        assertFalse(isTrainer(file(AdapterBuilder().build())))
        assertFalse(isTrainer(file(TrainerBuilder(metadata = "other").build())))
        assertFalse(isTrainer(file(TrainerBuilder().build().copyOf(40))))
        assertFalse(isTrainer(file(ByteArray(3))))
    }

    @Test
    fun `what cannot be trained with is refused`() {
        val plain = TrainerBuilder()
        val broken = listOf(
            TrainerBuilder(signatures = { it - "train_4_r2" }),
            TrainerBuilder(signatures = { it - "eval_4_r2" }),
            TrainerBuilder(signatures = { it - "init_r2" }),
            TrainerBuilder(metadata = "other"),
            TrainerBuilder(header = "no JSON"),
            TrainerBuilder(header = plain.plainHeader(layers = "0")),
            TrainerBuilder(header = plain.plainHeader(width = "\"wide\"")),
            TrainerBuilder(header = plain.plainHeader(scales = 1)),
            TrainerBuilder(count = 95),
            TrainerBuilder(operand = 6),
            TrainerBuilder(length = 1),
        )
        for (trainer in broken) assertRefused(FindingCode.APP_TRAINER_UNREADABLE) { readTrainer(file(trainer.build())) }
        for (size in listOf(0, 9, 40, 400)) {
            assertRefused(FindingCode.APP_TRAINER_UNREADABLE) { readTrainer(file(plain.build().copyOf(size))) }
        }
    }
}
