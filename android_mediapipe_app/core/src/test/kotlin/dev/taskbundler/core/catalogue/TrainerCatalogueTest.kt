package dev.taskbundler.core.catalogue

import dev.taskbundler.core.adapter.readAdapter
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.assertRefused
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.litertlm.LitertLmBuilder
import dev.taskbundler.core.task.BundleBuilder
import dev.taskbundler.core.tflite.LAYERS
import dev.taskbundler.core.tflite.RANK
import dev.taskbundler.core.tflite.WIDTH
import dev.taskbundler.core.training.TrainerBuilder
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File

class TrainerCatalogueTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val root by lazy { File(folder.root, "storage") }
    private val catalogue by lazy { Catalogue(root) }

    private fun trainer(builder: TrainerBuilder = TrainerBuilder(), name: String = "tiny-trainer.tflite") =
        catalogue.import(BytesSource(name, builder.build())) as StoredTrainer

    private fun vector(trainer: StoredTrainer, value: Float = 1f) = FloatArray(trainer.facts.count) { value * (it % 7) }

    @Test
    fun `a trainer is told from an adapter, checked and listed`() {
        val trainer = trainer()
        assertEquals(listOf(trainer), catalogue.trainers())
        assertEquals(emptyList<Stored>(), catalogue.adapters())
        assertEquals("tiny-trainer.tflite" to 2, trainer.name to trainer.facts.rank)
        catalogue.delete(trainer)
        assertEquals(emptyList<Stored>(), catalogue.trainers())
    }

    @Test
    fun `one that says too little is refused, one that was damaged later can only be deleted`() {
        assertRefused(FindingCode.APP_TRAINER_UNREADABLE) { trainer(TrainerBuilder(header = "{}")) }
        trainer().file.writeBytes(ByteArray(100))
        val damaged = Catalogue(root).damaged().single()
        assertEquals(FindingCode.APP_TRAINER_UNREADABLE, damaged.problem.code)
        catalogue.delete(damaged)
        assertEquals(emptyList<Stored>(), Catalogue(root).damaged())
    }

    @Test
    fun `it is bound to bundles by what both say of their model`() {
        val task = catalogue.import(BytesSource("a.task", BundleBuilder().build())) as StoredBundle
        val litertLm = catalogue.import(BytesSource("a.litertlm", LitertLmBuilder().build())) as StoredBundle
        assertNull(catalogue.misfit(trainer(), task))
        assertEquals(FindingCode.APP_TRAINER_OTHER_MODEL, catalogue.misfit(trainer(), litertLm)?.code)
        assertEquals(FindingCode.APP_TRAINER_OTHER_MODEL, catalogue.misfit(trainer(TrainerBuilder(fingerprint = "e".repeat(64))), task)?.code)
        assertNull(catalogue.misfit(trainer(TrainerBuilder(LAYERS, WIDTH, RANK)), litertLm))
        val other = catalogue.misfit(trainer(TrainerBuilder(LAYERS, WIDTH, 4)), litertLm)!!
        assertEquals(FindingCode.APP_TRAINER_RANK_UNUSED, other.code)
        assertEquals(
            listOf<Any>("tiny-trainer.tflite", "a.litertlm", 4, "16"),
            listOf("trainer", "bundle", "rank", "ranks").map {
                other.arguments[it]
            },
        )
        val plain = BundleBuilder(manifest = { null }).build()
        val foreign = catalogue.import(BytesSource("b.task", plain)) as StoredBundle
        assertEquals(FindingCode.APP_BUNDLE_WITHOUT_ADAPTERS, catalogue.misfit(trainer(), foreign)?.code)
    }

    @Test
    fun `what was taught can be used before it is kept`() {
        val task = catalogue.import(BytesSource("a.task", BundleBuilder().build())) as StoredBundle
        val trainer = trainer()
        val taught = catalogue.putTaught(trainer, "pirate", vector(trainer), 2.0)
        assertFalse(taught.isKept)
        assertEquals(listOf(taught), catalogue.adapters())
        assertEquals("pirate.tflite" to 4.0, taught.name to taught.header.alpha)
        assertNull(catalogue.misfit(taught, task))
        assertEquals(taught.id, catalogue.merge(task, taught).adapterId)
        // Another process finds it as it was.
        assertEquals(listOf(taught), Catalogue(root).apply { clearLeftovers() }.adapters())
    }

    @Test
    fun `what is taught next takes its place`() {
        val trainer = trainer()
        val first = catalogue.putTaught(trainer, "first", vector(trainer), 2.0)
        val second = catalogue.putTaught(trainer, "second", vector(trainer, 2f), 2.0)
        assertEquals(listOf(second), catalogue.adapters())
        assertEquals(second, catalogue.putTaught(trainer, "second", vector(trainer, 2f), 2.0))
        assertFalse(first.file.exists())
        catalogue.delete(second)
        assertEquals(emptyList<Stored>(), catalogue.adapters())
    }

    @Test
    fun `what is kept has its name, the same numbers, and stays`() {
        val trainer = trainer()
        val taught = catalogue.putTaught(trainer, "taught", vector(trainer), 2.0)
        val before = numbers(taught)
        val kept = catalogue.keep(taught, "my/pirate \"1\"")
        assertEquals("pirate _1_.tflite" to "pirate _1_", kept.name to kept.header.name)
        assertTrue(kept.isKept)
        assertNotEquals(taught.id, kept.id)
        assertEquals(taught.header.copy(name = kept.header.name), kept.header)
        for ((expected, found) in before.zip(numbers(kept))) assertArrayEquals(expected, found, 0f)
        catalogue.putTaught(trainer, "taught", vector(trainer, 3f), 2.0)
        assertTrue(kept in catalogue.adapters() && kept.file.exists())
        assertRefused(FindingCode.APP_ITEM_GONE) { catalogue.keep(taught, "again") }
    }

    private fun numbers(stored: StoredAdapter): List<FloatArray> = readAdapter(stored.file).let { adapter ->
        FileBytes(stored.file).use { bytes -> listOf("q", "o").flatMap { listOf(adapter.a(bytes, it, 1), adapter.b(bytes, it, 1)) } }
    }
}
