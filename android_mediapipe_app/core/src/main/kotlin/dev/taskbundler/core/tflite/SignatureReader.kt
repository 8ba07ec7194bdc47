package dev.taskbundler.core.tflite

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.formats.FlatTable
import dev.taskbundler.core.formats.FlatVector
import dev.taskbundler.core.formats.FlatbufferException
import dev.taskbundler.core.formats.decodeUtf8
import dev.taskbundler.core.formats.rootTable
import java.io.EOFException
import java.io.File
import java.nio.charset.CharacterCodingException

private const val IDENTIFIER = "TFL3"
private const val MOST_SIGNATURES = 1 shl 10

/** Of all signatures together; GPT-2 XL with adapters has some five thousand. More would keep a phone busy for nothing. */
private const val MOST_INPUTS = 1 shl 15

/** More dimensions than any tensor here has. */
private const val MOST_DIMENSIONS = 8

/**
 * The signatures of the TFLite model that takes [size] bytes of [file] from [offset] on, in the file's order; the weights are not read.
 *
 * Throws FindingException if that is no TFLite model, one for browsers only, or one without the signatures `decode` and `prefill…`.
 * The rest is the doctor's business. [name] is what messages call the file.
 */
fun readSignatures(file: File, offset: Long, size: Long, name: String = file.name): List<Signature> = FileBytes(file, offset, size).use { bytes ->
    try {
        if (decodeUtf8(bytes.bytes(4, 4)) != IDENTIFIER) throw FlatbufferException("no $IDENTIFIER")
        SignatureReader(rootTable(bytes), name).read()
    } catch (error: EOFException) {
        unreadable(name, error)
    } catch (error: FlatbufferException) {
        unreadable(name, error)
    } catch (error: CharacterCodingException) {
        unreadable(name, error)
    }
}

private class SignatureReader(private val model: FlatTable, private val name: String) {
    private val graphs = model.tables(ModelField.SUBGRAPHS).atMost(MOST_SIGNATURES)
    private var inputsLeft = MOST_INPUTS

    fun read(): List<Signature> {
        val listed = model.tables(ModelField.SIGNATURES).atMost(MOST_SIGNATURES)
        val tables = (0 until listed.size).map { listed.table(it) }
        checkKeys(tables.map { it.text(SignatureField.KEY).orEmpty() })
        return tables.map { Signature(it.text(SignatureField.KEY).orEmpty(), inputs(it)) }
    }

    private fun inputs(signature: FlatTable): Map<String, SignatureInput> {
        val listed = signature.tables(SignatureField.INPUTS)
        inputsLeft -= listed.size
        if (inputsLeft < 0) throw FlatbufferException("more than $MOST_INPUTS inputs")
        if (listed.size == 0) return emptyMap()
        val tensors = graphs.table(index(signature.u32(SignatureField.SUBGRAPH))).tables(SubgraphField.TENSORS)
        return (0 until listed.size).map { listed.table(it) }.associate { entry ->
            entry.text(NamedField.NAME).orEmpty() to input(tensors.table(index(entry.u32(NamedField.TENSOR))))
        }
    }

    private fun input(tensor: FlatTable): SignatureInput {
        val shape = tensor.vector(TensorField.SHAPE, 4)
        return SignatureInput(
            List(minOf(shape?.size ?: 0, MOST_DIMENSIONS)) { shape!!.i32(it) },
            tensor.byte(TensorField.TYPE) == FLOAT32_TENSOR,
        )
    }

    /** A list refuses an index beyond its end; one beyond all lists must not wrap around. */
    private fun index(number: Long): Int = minOf(number, Int.MAX_VALUE.toLong()).toInt()

    private fun checkKeys(keys: List<String>) {
        if (DECODE in keys && keys.any { it.startsWith(PREFILL) }) return
        if (keys.isEmpty() && (0 until graphs.size).all { graphs.table(it).tables(SubgraphField.OPERATORS).size == 0 }) {
            refuse(
                FindingCode.MODEL_WEB_ONLY,
                "the model in $name has weights but no graph: it is a variant for browsers only; get the one without \"web\" in its name",
            )
        }
        refuse(
            FindingCode.SIGNATURES_MISSING,
            "the model in $name has the signatures ${keys.joinToString().ifEmpty {
                "none"
            }.take(200)}; expected decode and prefill; convert it again",
        )
    }
}

private fun unreadable(name: String, cause: Exception): Nothing = refuse(
    FindingCode.MODEL_UNREADABLE,
    "the model in $name is no sound TFLite flatbuffer (${cause.message}); copy the file again or convert the model again",
    cause = cause,
)
