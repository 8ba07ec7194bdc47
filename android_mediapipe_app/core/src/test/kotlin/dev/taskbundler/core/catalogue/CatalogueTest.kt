package dev.taskbundler.core.catalogue

import dev.taskbundler.core.adapter.AdapterBuilder
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.findings.assertRefused
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.sha256Of
import dev.taskbundler.core.task.BundleBuilder
import dev.taskbundler.core.task.METADATA
import dev.taskbundler.core.task.ZipBuilder
import dev.taskbundler.core.task.ZipPart
import dev.taskbundler.core.task.model
import dev.taskbundler.core.task.openBundle
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.IOException
import java.util.Collections
import java.util.concurrent.CancellationException

class CatalogueTest {
    @get:Rule
    val folder = TemporaryFolder()

    private var free = 1L shl 40
    private val root by lazy { File(folder.root, "storage") }
    private val catalogue by lazy { Catalogue(root, freeSpace = { free }) }

    private val bundleBytes = BundleBuilder().build()
    private val adapterBytes = AdapterBuilder().build()

    private fun bundle() = catalogue.import(BytesSource("tiny.task", bundleBytes)) as StoredBundle

    private fun adapter(name: String = "pirate.tflite", bytes: ByteArray = adapterBytes) = catalogue.import(BytesSource(name, bytes)) as StoredAdapter

    /** Nothing is listed, and no file is anywhere. */
    private fun assertNothingLeft() {
        assertEquals(emptyList<Stored>(), catalogue.bundles() + catalogue.adapters() + catalogue.merged() + catalogue.damaged())
        assertEquals(emptyList<File>(), root.walk().filter { it.isFile }.toList())
    }

    @Test
    fun `an imported bundle is listed, whole`() {
        val bundle = bundle()
        assertEquals(listOf(bundle), catalogue.bundles())
        assertEquals("tiny.task", bundle.name)
        assertEquals(bundleBytes.size.toLong(), bundle.size)
        assertArrayEquals(bundleBytes, bundle.file.readBytes())
        assertEquals(sha256Of(bundle.file), bundle.id)
        assertEquals("<|endoftext|>", bundle.parameters.startToken)
        assertEquals(96, bundle.manifest?.context)
        assertNull(bundle.mergeProblem)
    }

    @Test
    fun `two bundles of one name lie under two names`() {
        val (first, second) = listOf(bundleBytes, BundleBuilder(fingerprint = "e".repeat(64)).build()).map {
            catalogue.import(BytesSource("tiny.task", it)) as StoredBundle
        }
        assertEquals(listOf("tiny.task", "tiny.task"), listOf(first.name, second.name))
        assertEquals("tiny-${first.id.take(12)}.task", first.file.name)
        assertTrue(first.file.name != second.file.name)
    }

    @Test
    fun `what an engine keeps of a bundle counts and goes with it`() {
        fun keep(item: Openable) = item.cache.folder!!.let { folder ->
            folder.mkdirs()
            File(folder, "weights").writeBytes(ByteArray(1000))
            folder
        }
        val bundle = bundle()
        val kept = listOf(keep(bundle), keep(catalogue.merge(bundle, adapter())))
        assertEquals(bundle.size + 1000, catalogue.bundles().single().bytes)
        assertEquals(1000, catalogue.merged().single().cache.size)
        catalogue.clearLeftovers()
        assertTrue(kept.all { it.exists() })
        catalogue.delete(bundle)
        assertTrue(kept.none { it.exists() })
    }

    @Test
    fun `what an engine kept of a bundle that is gone goes at the start`() {
        val bundle = bundle()
        bundle.cache.folder!!.mkdirs()
        bundle.file.parentFile!!.deleteRecursively()
        catalogue.clearLeftovers()
        assertFalse(bundle.cache.folder!!.exists())
    }

    @Test
    fun `an imported adapter is listed with what it says of itself`() {
        val adapter = adapter()
        assertEquals(listOf(adapter), catalogue.adapters())
        assertEquals(emptyList<StoredBundle>(), catalogue.bundles())
        assertEquals(2, adapter.header.rank)
        assertArrayEquals(adapterBytes, adapter.file.readBytes())
    }

    @Test
    fun `another instance, such as the next start's, lists the same`() {
        val stored = listOf(bundle(), adapter())
        val next = Catalogue(root, freeSpace = { free })
        next.clearLeftovers()
        assertEquals(stored, next.bundles() + next.adapters())
    }

    @Test
    fun `the same file again is the one that is there`() {
        val first = bundle()
        val second = catalogue.import(BytesSource("renamed.task", bundleBytes))
        assertEquals(first, second)
        assertEquals(listOf(first), catalogue.bundles())
    }

    @Test
    fun `the same file from several threads at once is there once`() {
        val stored = Collections.synchronizedSet(HashSet<Stored>())
        val threads = List(6) { Thread { stored.add(bundle()) } }
        threads.forEach { it.start() }
        threads.forEach { it.join() }
        assertEquals(catalogue.bundles().toSet(), stored)
        assertEquals(1, stored.size)
        assertEquals(0, File(root, "temporary").listFiles()!!.size)
    }

    @Test
    fun `two files with one name are both kept`() {
        val other = adapter(bytes = AdapterBuilder(queryScale = 0.25).build())
        assertEquals(setOf(adapter(), other), catalogue.adapters().toSet())
        assertEquals(listOf("pirate.tflite", "pirate.tflite"), catalogue.adapters().map { it.name })
    }

    @Test
    fun `names are made safe and end as engines want it`() {
        val names = mapOf(
            "../../etc/passwd" to "passwd.tflite", "primary:Download/a.tflite" to "a.tflite", "C:\\x\\b.bin" to "b.bin.tflite",
            "" to "unnamed.tflite",
            "..." to "unnamed.tflite",
            ".hidden" to "hidden.tflite", "a\nb*?" to "a_b__.tflite", "x".repeat(500) to "x".repeat(100) + ".tflite",
            "a b.tflite" to "a b.tflite", ".tflite" to "tflite.tflite",
        )
        for ((offered, expected) in names) assertEquals(expected, fileName(offered, ".tflite"))
        assertEquals("passwd.tflite", adapter("../../etc/passwd").name)
    }

    @Test
    fun `a file that SHA256SUMS lists has to have that hash`() {
        val sums = Sha256Sums.parse("${"0".repeat(64)}  out/tiny.task")
        assertRefused(FindingCode.APP_HASH_DIFFERS, "tiny.task") { catalogue.import(BytesSource("folder/tiny.task", bundleBytes), sums) }
        assertNothingLeft()
        val stored = bundle()
        catalogue.delete(stored)
        assertEquals(stored.id, catalogue.import(BytesSource("tiny.task", bundleBytes), Sha256Sums.parse("${stored.id}  tiny.task")).id)
        assertEquals(stored.id, catalogue.import(BytesSource("unlisted.task", bundleBytes), sums).id)
    }

    @Test
    fun `a provider that does not say the size, or says nonsense, is no harm`() {
        assertEquals(bundleBytes.size.toLong(), catalogue.import(BytesSource("a.task", bundleBytes, size = null)).size)
        assertEquals(adapterBytes.size.toLong(), catalogue.import(BytesSource("a.tflite", adapterBytes, size = -1)).size)
        catalogue.delete(catalogue.adapters()[0])
        assertEquals(adapterBytes.size.toLong(), catalogue.import(BytesSource("a.tflite", adapterBytes, size = 5)).size)
    }

    @Test
    fun `fewer bytes than announced are refused`() {
        val finding = assertRefused(FindingCode.APP_SOURCE_ENDED_EARLY, "tiny.task") {
            catalogue.import(BytesSource("tiny.task", bundleBytes, size = bundleBytes.size + 1L))
        }
        assertEquals(bundleBytes.size.toLong(), finding.arguments["found"])
        assertNothingLeft()
    }

    @Test
    fun `a stream that fails, at once or midway, leaves nothing`() {
        for (source in listOf(
            BytesSource("x", bundleBytes, failAt = 0),
            BytesSource("x", bundleBytes, failAt = 300),
            BytesSource("x", bundleBytes, opens = false),
        )) {
            assertRefused(FindingCode.APP_SOURCE_FAILED, "x") { catalogue.import(source) }
            assertNothingLeft()
            assertTrue(source.closed)
        }
        for (error in listOf(SecurityException("no right"), IllegalStateException("gone"))) {
            assertRefused(FindingCode.APP_SOURCE_FAILED, error.message!!) {
                catalogue.import(BytesSource("x", bundleBytes, failAt = 0, error = error))
            }
        }
    }

    @Test
    fun `what cannot be what it should is refused by its content, not its name`() {
        val cases = mapOf(
            "<!doctype html><title>Not found</title>".toByteArray() to FindingCode.NOT_A_KNOWN_FILE,
            "LITERTLM\u0001".toByteArray() to FindingCode.FILE_TRUNCATED,
            AdapterBuilder(ownMetadata = "x").build() to FindingCode.APP_KIND_UNUSED,
            ByteArray(0) to FindingCode.FILE_TRUNCATED,
            ByteArray(3) to FindingCode.NOT_A_KNOWN_FILE,
            bundleBytes.copyOf(bundleBytes.size - 10) to FindingCode.FILE_TRUNCATED,
            adapterBytes.copyOf(200) to FindingCode.ADAPTER_SIZE_NO_PAGE_MULTIPLE,
            BundleBuilder(metadata = byteArrayOf(1)).build() to FindingCode.METADATA_UNREADABLE,
            BundleBuilder(model = model("other")).build() to FindingCode.SIGNATURES_MISSING,
            ZipBuilder(emptyList()).build() to FindingCode.ENTRY_MISSING,
        )
        for ((bytes, code) in cases) {
            val got = assertThrows(FindingException::class.java) { catalogue.import(BytesSource("m.task", bytes)) }
            if (code ==
                FindingCode.ADAPTER_SIZE_NO_PAGE_MULTIPLE
            ) {
                assertTrue(got.finding.code.id.startsWith("a"))
            } else {
                assertEquals(code, got.finding.code)
            }
            assertNothingLeft()
        }
    }

    @Test
    fun `bytes that were changed on the way are found by their checksum`() {
        val parts = BundleBuilder().parts()
        for (name in parts.map { it.name }.filter { it != METADATA && it != "MANIFEST" }) {
            val damaged = ZipBuilder(parts.map { if (it.name == name) ZipPart(name, it.data, crc = 1) else it }).build()
            assertRefused(FindingCode.ENTRY_CHECKSUM_WRONG, name) { catalogue.import(BytesSource("m.task", damaged)) }
        }
        val extra = ZipBuilder(parts + ZipPart("EXTRA", ByteArray(9), method = 8)).build()
        assertRefused(FindingCode.ENTRY_COMPRESSED, "EXTRA") { catalogue.import(BytesSource("m.task", extra)) }
        assertNothingLeft()
    }

    @Test
    fun `import stops when asked to, and leaves nothing`() {
        val cancel = CancelSignal()
        assertThrows(CancellationException::class.java) {
            catalogue.import(BytesSource("m.task", bundleBytes), cancel = cancel, progress = { _, _ -> cancel.cancel() })
        }
        assertNothingLeft()
    }

    @Test
    fun `progress tells the bytes copied, and the total if it is known`() {
        val reports = ArrayList<Pair<Long, Long?>>()
        catalogue.import(BytesSource("m.task", bundleBytes, chunk = 1000), progress = { done, total -> reports.add(done to total) })
        assertEquals((1000L..bundleBytes.size step 1000).toList(), reports.map { it.first }.dropLast(1))
        assertEquals(bundleBytes.size.toLong() to bundleBytes.size.toLong(), reports.last())
        reports.clear()
        catalogue.import(BytesSource("m.tflite", adapterBytes, size = null), progress = { done, total -> reports.add(done to total) })
        assertEquals(adapterBytes.size.toLong() to null, reports.last())
    }

    @Test
    fun `a file for which there is no room is refused before a byte is copied`() {
        free = (32L shl 20) + bundleBytes.size - 1
        val source = BytesSource("m.task", bundleBytes)
        val finding = assertRefused(FindingCode.APP_STORAGE_FULL) { catalogue.import(source) }
        assertEquals(listOf<Any>(bundleBytes.size.toLong(), free), listOf(finding.arguments["needed"], finding.arguments["free"]))
        assertFalse(source.opened)
        free++
        bundle()
    }

    @Test
    fun `a storage that cannot be written to is no riddle`() {
        folder.newFile("storage")
        assertRefused(FindingCode.APP_STORAGE_FAILED, "storage") { bundle() }
        assertEquals(emptyList<Stored>(), catalogue.bundles())
    }

    @Test
    fun `writing that fails for want of room says so`() {
        val storage = Storage(folder.root) { free }
        free = 1000
        val full = assertRefused(FindingCode.APP_STORAGE_FULL) { storage.writing(5) { throw IOException("ENOSPC") } }
        assertEquals(5L, full.arguments["needed"])
        free = 1L shl 40
        assertRefused(FindingCode.APP_STORAGE_FAILED, "EIO") { storage.writing(5) { throw IOException("EIO") } }
    }

    @Test
    fun `what a killed process left is never listed, and cleared at the next start`() {
        val bundle = bundle()
        File(root, "temporary/1234").mkdirs()
        File(root, "temporary/1234/copy").writeBytes(ByteArray(100))
        File(root, "temporary/loose").writeBytes(ByteArray(100))
        File(root, "bundles/${"c".repeat(64)}").mkdirs()
        assertEquals(listOf(bundle), catalogue.bundles())
        catalogue.clearLeftovers()
        assertEquals(0, File(root, "temporary").listFiles()!!.size)
        assertEquals(listOf(bundle), catalogue.bundles())
    }

    @Test
    fun `a file that was damaged later can only be deleted`() {
        val bundle = bundle()
        val adapter = adapter()
        bundle.file.writeBytes(bundleBytes.copyOf(100))
        adapter.file.writeBytes(ByteArray(0))
        assertEquals(emptyList<Stored>(), catalogue.bundles() + catalogue.adapters())
        val damaged = catalogue.damaged()
        assertEquals(listOf(FindingCode.FILE_TRUNCATED, FindingCode.ADAPTER_UNREADABLE), damaged.map { it.problem.code })
        damaged.forEach { catalogue.delete(it) }
        assertNothingLeft()
        val gone = bundle().file
        gone.delete()
        gone.mkdir()
        assertEquals(listOf(FindingCode.APP_ITEM_GONE), catalogue.damaged().map { it.problem.code })
    }

    @Test
    fun `merging makes a bundle that runs, once`() {
        val bundle = bundle()
        val adapter = adapter()
        assertNull(catalogue.mergedCopy(bundle, adapter))
        assertNull(catalogue.misfit(adapter, bundle))
        val copy = catalogue.merge(bundle, adapter)
        assertEquals(listOf(copy), catalogue.merged())
        assertEquals("tiny+pirate.task", copy.name)
        assertEquals(listOf(bundle.id, adapter.id), listOf(copy.bundleId, copy.adapterId))
        assertEquals(bundle.size, copy.size)
        val made = copy.file.lastModified()
        copy.file.setLastModified(1_000_000)
        assertEquals(copy, catalogue.merge(bundle, adapter))
        assertEquals(1_000_000, copy.file.lastModified())
        assertTrue(made > 1_000_000)
        assertEquals(copy, catalogue.mergedCopy(bundle, adapter))
        assertEquals(adapter.id, openBundle(copy.file).manifest!!.lora!!.mergedAdapter)
    }

    @Test
    fun `a merge that does not fit, has no room or is stopped leaves nothing`() {
        val bundle = bundle()
        val adapter = adapter()
        val stranger = adapter("stranger.tflite", AdapterBuilder(fingerprint = "0".repeat(64)).build())
        assertEquals(FindingCode.APP_ADAPTER_OTHER_BASE, catalogue.misfit(stranger, bundle)!!.code)
        assertRefused(FindingCode.APP_ADAPTER_OTHER_BASE, "stranger.tflite", "tiny.task") { catalogue.merge(bundle, stranger) }
        free = 32L shl 20
        assertRefused(FindingCode.APP_STORAGE_FULL) { catalogue.merge(bundle, adapter) }
        free = 1L shl 40
        val cancel = CancelSignal()
        assertThrows(CancellationException::class.java) { catalogue.merge(bundle, adapter, { _, _ -> cancel.cancel() }, cancel) }
        assertEquals(emptyList<MergedCopy>(), catalogue.merged())
        assertEquals(0, File(root, "temporary").listFiles()!!.size)
        catalogue.merge(bundle, adapter)
    }

    @Test
    fun `a merge whose base is deleted meanwhile shows nothing`() {
        val bundle = bundle()
        val adapter = adapter()
        assertRefused(FindingCode.APP_ITEM_GONE, "tiny.task") {
            catalogue.merge(bundle, adapter, progress = { done, total -> if (done == total) catalogue.delete(bundle) })
        }
        assertEquals(emptyList<MergedCopy>(), catalogue.merged())
        assertRefused(FindingCode.APP_ITEM_GONE, "tiny.task") { catalogue.merge(bundle, adapter) }
    }

    @Test
    fun `with a bundle or an adapter go the copies made of it`() {
        val bundle = bundle()
        val pirate = adapter()
        val other = adapter("other.tflite", AdapterBuilder(value = { _, _ -> 0.5f }).build())
        val copies = listOf(pirate, other).map { catalogue.merge(bundle, it) }
        catalogue.delete(pirate)
        assertEquals(listOf(copies[1]), catalogue.merged())
        assertEquals(listOf(other), catalogue.adapters())
        catalogue.delete(bundle)
        assertEquals(emptyList<Stored>(), catalogue.merged() + catalogue.bundles())
        catalogue.delete(bundle)
        catalogue.delete(other)
        assertNothingLeft()
    }

    @Test
    fun `a merged copy can be deleted by itself`() {
        val bundle = bundle()
        val copy = catalogue.merge(bundle, adapter())
        catalogue.delete(copy)
        assertEquals(emptyList<MergedCopy>(), catalogue.merged())
        assertEquals(listOf(bundle), catalogue.bundles())
    }

    @Test
    fun `a bundle of another maker runs but takes no adapters`() {
        val bundle = catalogue.import(BytesSource("gemma.task", BundleBuilder(manifest = { null }).build())) as StoredBundle
        assertNull(bundle.manifest)
        assertEquals(FindingCode.APP_BUNDLE_WITHOUT_ADAPTERS, bundle.mergeProblem!!.code)
        assertEquals(FindingCode.APP_BUNDLE_WITHOUT_ADAPTERS, catalogue.misfit(adapter(), bundle)!!.code)
        assertEquals(FindingCode.APP_BUNDLE_WITHOUT_ADAPTERS, catalogue.nativeMisfit(adapter(), bundle)!!.code)
    }

    @Test
    fun `beside the weights an adapter needs a rank that the bundle knows`() {
        val bundle = bundle()
        assertNull(catalogue.nativeMisfit(adapter(), bundle))
        val wide = adapter("wide.tflite", AdapterBuilder(rank = 3).build())
        assertEquals(FindingCode.APP_ADAPTER_RANK_UNSUPPORTED, catalogue.nativeMisfit(wide, bundle)!!.code)
        assertNull(catalogue.misfit(wide, bundle))
        val stranger = adapter("stranger.tflite", AdapterBuilder(fingerprint = "0".repeat(64)).build())
        assertEquals(FindingCode.APP_ADAPTER_OTHER_BASE, catalogue.nativeMisfit(stranger, bundle)!!.code)
    }

    @Test
    fun `the free space is the file system's`() {
        assertEquals(free, catalogue.freeBytes())
        assertTrue(Catalogue(folder.newFolder()).freeBytes() > 0)
    }
}
