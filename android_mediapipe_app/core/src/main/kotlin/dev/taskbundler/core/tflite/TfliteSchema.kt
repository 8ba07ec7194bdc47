package dev.taskbundler.core.tflite

// Fields of tensorflow/lite/schema/schema.fbs, version 3, by their place in the table; COUNT is how many there are.

internal object ModelField {
    const val COUNT = 10
    const val VERSION = 0
    const val OPERATOR_CODES = 1
    const val SUBGRAPHS = 2
    const val DESCRIPTION = 3
    const val BUFFERS = 4
    const val METADATA = 6
    const val SIGNATURES = 7
}

internal object SubgraphField {
    const val COUNT = 6
    const val TENSORS = 0
    const val INPUTS = 1
    const val OUTPUTS = 2
    const val OPERATORS = 3
    const val NAME = 4
}

internal object OperatorField {
    const val INPUTS = 1
    const val OUTPUTS = 2
}

internal object TensorField {
    const val COUNT = 11
    const val SHAPE = 0
    const val TYPE = 1
    const val BUFFER = 2
    const val NAME = 3
}

internal object BufferField {
    const val COUNT = 3
    const val DATA = 0
    const val OFFSET = 1
    const val SIZE = 2
}

internal object MetadataField {
    const val COUNT = 2
    const val NAME = 0
    const val BUFFER = 1
}

internal object SignatureField {
    const val INPUTS = 0
    const val KEY = 2
    const val SUBGRAPH = 4
}

/** Of TensorMap: the name that a signature gives to a tensor. */
internal object NamedField {
    const val NAME = 0
    const val TENSOR = 1
}

/** TensorType.FLOAT32. */
internal const val FLOAT32_TENSOR = 0
