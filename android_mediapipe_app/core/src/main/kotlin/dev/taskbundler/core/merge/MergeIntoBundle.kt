package dev.taskbundler.core.merge

import dev.taskbundler.core.adapter.AdapterFile
import dev.taskbundler.core.adapter.baseProblem
import dev.taskbundler.core.findings.Finding
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.formats.Progress
import dev.taskbundler.core.formats.putI32
import dev.taskbundler.core.task.Bundle
import dev.taskbundler.core.task.LoraFacts
import dev.taskbundler.core.task.MANIFEST
import dev.taskbundler.core.task.MappedTensor
import dev.taskbundler.core.task.UNMERGED
import dev.taskbundler.core.task.crcOf
import java.io.File
import java.io.FileOutputStream
import java.io.RandomAccessFile

private const val CHUNK = 1 shl 18
private const val MARK = "\"merged_adapter\": \""

/** Where CRC-32 stands in a local header, and in a record of the directory. */
private const val CRC_IN_HEADER = 14
private const val CRC_IN_RECORD = 16

/** Why nothing can be merged into [bundle], or null. [name] is what the sentence calls it. */
fun mergeProblem(bundle: Bundle, name: String): Finding? {
    val facts = bundle.manifest?.lora
    return when {
        bundle.manifestProblem != null -> bundle.manifestProblem

        facts == null -> Finding(
            FindingCode.APP_BUNDLE_WITHOUT_ADAPTERS,
            mapOf("bundle" to name),
            "$name says nothing about adapters: another program made it; choose a .task that `task-bundler build` wrote",
        )

        facts.mergedAdapter != null -> Finding(
            FindingCode.APP_BUNDLE_MERGED,
            mapOf("bundle" to name, "adapter" to facts.mergedAdapter),
            "an adapter (${facts.mergedAdapter.take(16)}…) is merged into $name already, and roundings would add up; choose the bundle without it",
        )

        facts.tensors == null -> Finding(
            FindingCode.APP_BUNDLE_WITHOUT_ADAPTERS,
            mapOf("bundle" to name, "reason" to facts.unmergeable.orEmpty()),
            "nothing can be merged into $name: ${facts.unmergeable}",
        )

        else -> null
    }
}

/**
 * Write to [output] a copy of [bundle] into which [adapter] is merged, in the bytes that docs/LORA.md specifies.
 *
 * [adapterHash]: SHA-256 of the adapter file, in small letters. Memory does not grow with the model. [output] is brought to the
 * disk; if anything goes wrong it is left in an unknown state, so it has to be a temporary file. Throws FindingException
 * if the adapter does not fit, CancellationException when [cancel] is asked for.
 */
fun mergeIntoBundle(bundle: Bundle, adapter: AdapterFile, adapterHash: String, output: File, progress: Progress, cancel: CancelSignal) {
    val facts = mergeableFacts(bundle, adapter)
    val tensors = facts.tensors.orEmpty()
    val model = bundle.model
    val source = bundle.task.file
    val steps = Steps(progress, source.length() + tensors.sumOf { it.dataBytes } + model.size)
    copy(source, output, steps, cancel)
    RandomAccessFile(output, "rw").use { file ->
        FileBytes(adapter.file).use { values ->
            for (tensor in tensors) {
                val projection = tensor.projection
                val change = LowRankChange(adapter.a(values, projection, tensor.layer), adapter.b(values, projection, tensor.layer), tensor.width)
                if (!change.none) mergeMatrix(file, model.offset, tensor, change, cancel)
                steps.done(tensor.dataBytes)
            }
        }
        nameAdapter(file, bundle, adapterHash)
        for (name in listOf(bundle.model.name, MANIFEST)) {
            val entry = bundle.task.usable(name)
            val crc = FileBytes(output, entry.offset, entry.size).use {
                crcOf(it, cancel) { count ->
                    if (entry ==
                        model
                    ) {
                        steps.done(count.toLong())
                    }
                }
            }
            val bytes = ByteArray(4).apply { putI32(0, crc.toInt()) }
            for (place in listOf(entry.headerOffset + CRC_IN_HEADER, entry.recordOffset + CRC_IN_RECORD)) {
                file.seek(place)
                file.write(bytes)
            }
        }
        file.fd.sync()
    }
}

private class Steps(private val progress: Progress, private val total: Long) {
    private var done = 0L

    fun done(bytes: Long) {
        done += bytes
        progress.at(done, total)
    }
}

private fun mergeableFacts(bundle: Bundle, adapter: AdapterFile): LoraFacts {
    val bundleName = bundle.task.file.name
    mergeProblem(bundle, bundleName)?.let { throw FindingException(it) }
    val facts = bundle.manifest!!.lora!!
    baseProblem(adapter.header, facts, adapter.header.name, bundleName)?.let { throw FindingException(it) }
    return facts
}

private fun copy(source: File, output: File, steps: Steps, cancel: CancelSignal) {
    FileBytes(source).use { bytes ->
        FileOutputStream(output).use { stream ->
            val chunk = ByteArray(CHUNK)
            var at = 0L
            while (at < bytes.size) {
                cancel.check()
                val count = minOf(CHUNK.toLong(), bytes.size - at).toInt()
                bytes.read(at, chunk, count)
                stream.write(chunk, 0, count)
                at += count
                steps.done(count.toLong())
            }
        }
    }
}

/** One matrix of the model that begins at [modelAt] of [file], some rows at a time. */
private fun mergeMatrix(file: RandomAccessFile, modelAt: Long, tensor: MappedTensor, change: LowRankChange, cancel: CancelSignal) {
    val row = StoredRow(tensor)
    val rowsAtOnce = (CHUNK / tensor.rowBytes).coerceIn(1, tensor.width)
    val data = ByteArray(rowsAtOnce * tensor.rowBytes)
    val scales = ByteArray(rowsAtOnce * tensor.scaleRowBytes)
    val rowChange = FloatArray(tensor.width)
    for (first in 0 until tensor.width step rowsAtOnce) {
        cancel.check()
        val rows = minOf(rowsAtOnce, tensor.width - first)
        val dataAt = modelAt + tensor.data + first.toLong() * tensor.rowBytes
        val scalesAt = modelAt + (tensor.scales ?: 0) + first.toLong() * tensor.scaleRowBytes
        file.seek(dataAt)
        file.readFully(data, 0, rows * tensor.rowBytes)
        file.seek(scalesAt)
        file.readFully(scales, 0, rows * tensor.scaleRowBytes)
        for (index in 0 until rows) {
            change.row(first + index, rowChange)
            try {
                row.add(rowChange, data, index * tensor.rowBytes, scales, index * tensor.scaleRowBytes)
            } catch (error: NotFiniteException) {
                tooStrong(tensor, error)
            }
        }
        file.seek(dataAt)
        file.write(data, 0, rows * tensor.rowBytes)
        file.seek(scalesAt)
        file.write(scales, 0, rows * tensor.scaleRowBytes)
    }
}

private fun tooStrong(tensor: MappedTensor, cause: Throwable): Nothing = refuse(
    FindingCode.APP_ADAPTER_TOO_STRONG,
    "layer ${tensor.layer}, ${tensor.projection}: a merged weight exceeds what ${tensor.type.written} can hold; the adapter is too strong for this " +
        "bundle: use one with float32 weights, or train the adapter with a smaller alpha",
    "layer" to tensor.layer,
    "projection" to tensor.projection,
    "type" to tensor.type.written,
    cause = cause,
)

/** In the manifest's text, the zeros become [adapterHash]. */
private fun nameAdapter(file: RandomAccessFile, bundle: Bundle, adapterHash: String) {
    val entry = bundle.task.usable(MANIFEST)
    // Bytes as characters, one to one: places in the text are places in the entry.
    val text = FileBytes(bundle.task.file, entry.offset, entry.size).use { String(it.bytes(0, entry.size.toInt()), Charsets.ISO_8859_1) }
    val at = text.indexOf(MARK + UNMERGED)
    if (at < 0 || text.indexOf(MARK + UNMERGED, at + 1) >= 0) {
        refuse(
            FindingCode.MANIFEST_UNREADABLE,
            "$MANIFEST in ${bundle.task.file.name} does not name merged_adapter once, as ${UNMERGED.take(8)}…; build the bundle again",
        )
    }
    file.seek(entry.offset + at + MARK.length)
    file.write(adapterHash.toByteArray(Charsets.US_ASCII))
}
