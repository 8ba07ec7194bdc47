package dev.taskbundler.core.bundle

import dev.taskbundler.core.bytes.FileBytes
import dev.taskbundler.core.bytes.decodeUtf8
import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.flatbuffer.FlatVector
import dev.taskbundler.core.flatbuffer.FlatbufferException
import dev.taskbundler.core.flatbuffer.ModelField
import dev.taskbundler.core.flatbuffer.SignatureField
import dev.taskbundler.core.flatbuffer.SubgraphField
import dev.taskbundler.core.flatbuffer.rootTable
import java.io.EOFException
import java.nio.charset.CharacterCodingException

private const val IDENTIFIER = "TFL3"
private const val MOST_SIGNATURES = 1 shl 10

/**
 * Look at the model's signatures, as a phone's engine does when it loads it. Throws FindingException if it is no TFLite model, one
 * for browsers only, or one without the signatures `decode` and `prefill…`. The rest is the doctor's business.
 */
fun checkModel(task: TaskFile) {
    val entry = task.usable(MODEL)
    val name = task.file.name
    FileBytes(task.file, entry.offset, entry.size).use { bytes ->
        try {
            checkSignatures(bytes, name)
        } catch (error: EOFException) {
            unreadable(name, error)
        } catch (error: FlatbufferException) {
            unreadable(name, error)
        } catch (error: CharacterCodingException) {
            unreadable(name, error)
        }
    }
}

private fun checkSignatures(bytes: FileBytes, name: String) {
    if (decodeUtf8(bytes.bytes(4, 4)) != IDENTIFIER) throw FlatbufferException("no $IDENTIFIER")
    val model = rootTable(bytes)
    val keys = limited(model.tables(ModelField.SIGNATURES)).let { list -> (0 until list.size).map { list.table(it).text(SignatureField.KEY) } }
    if ("decode" in keys && keys.any { it != null && it.startsWith("prefill") }) return
    val graphs = limited(model.tables(ModelField.SUBGRAPHS))
    if (keys.isEmpty() && (0 until graphs.size).all { graphs.table(it).tables(SubgraphField.OPERATORS).size == 0 }) {
        refuse(
            FindingCode.MODEL_WEB_ONLY,
            "the model in $name has weights but no graph: it is a variant for browsers only; get the one without \"web\" in its name",
        )
    }
    refuse(
        FindingCode.SIGNATURES_MISSING,
        "the model in $name has the signatures ${keys.joinToString().ifEmpty { "none" }.take(200)}; expected decode and prefill; convert it again",
    )
}

private fun limited(list: FlatVector): FlatVector {
    if (list.size > MOST_SIGNATURES) throw FlatbufferException("a list of ${list.size} elements")
    return list
}

private fun unreadable(name: String, cause: Exception): Nothing = refuse(
    FindingCode.MODEL_UNREADABLE,
    "the model in $name is no sound TFLite flatbuffer (${cause.message}); copy the file again or convert the model again",
    cause = cause,
)
