package dev.taskbundler.core.tflite

import dev.taskbundler.core.formats.FlatWriter
import dev.taskbundler.core.formats.Ints
import dev.taskbundler.core.formats.Table
import dev.taskbundler.core.formats.Tables

const val LAYERS = 2
const val WIDTH = 8
const val RANK = 16
const val CONTEXT = 96

fun shaped(vararg shape: Int, isFloat: Boolean = true) = SignatureInput(shape.toList(), isFloat)

/** What every signature of a language model takes: its mask and caches. */
val PLAIN_INPUTS: Map<String, SignatureInput> = mapOf("mask" to shaped(1, 1, 1, CONTEXT)) +
    (0 until LAYERS).associate { "kv_cache_k_$it" to shaped(1, 2, CONTEXT, WIDTH / 2) }

val LORA_INPUTS: Map<String, SignatureInput> = loraInputsOf(RANK)

fun loraInputsOf(rank: Int) = tensorShapes(LAYERS, WIDTH, rank).mapValues { shaped(it.value.first, it.value.second) }

fun signature(key: String, inputs: Map<String, SignatureInput> = PLAIN_INPUTS) = Signature(key, inputs)

/** A model without adapters, and one in LiteRT-LM's layout. */
val PLAIN_SIGNATURES = listOf(signature("prefill_8"), signature("decode"))
val LORA_SIGNATURES = listOf(signature("prefill_8", PLAIN_INPUTS + LORA_INPUTS), signature("decode", PLAIN_INPUTS + LORA_INPUTS))

/** A TFLite file of nothing but these signatures, each with a graph of its own. */
fun modelOf(signatures: List<Signature>, shift: Int = 0, graphShift: Int = 0): ByteArray = FlatWriter("TFL3").build(
    Table(
        0 to 3,
        2 to Tables(
            signatures.map { signature ->
                val tensors = signature.inputs.values.map { Table(0 to Ints(it.shape), 1 to (if (it.isFloat) 0 else 9).toByte()) }
                Table(0 to Tables(tensors), 3 to Tables(listOf(Table())))
            },
        ),
        7 to Tables(
            signatures.mapIndexed { graph, signature ->
                val inputs = signature.inputs.keys.mapIndexed { index, name -> Table(0 to name, 1 to index + shift) }
                Table(0 to Tables(inputs), 2 to signature.key, 4 to graph + graphShift)
            },
        ),
    ),
)
