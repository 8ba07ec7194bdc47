package dev.taskbundler.core.flatbuffer

// Fields of tensorflow/lite/schema/schema.fbs, version 3, by their place in the table.

internal object ModelField {
    const val SUBGRAPHS = 2
    const val BUFFERS = 4
    const val METADATA = 6
    const val SIGNATURES = 7
}

internal object SubgraphField {
    const val TENSORS = 0
    const val OPERATORS = 3
}

internal object TensorField {
    const val SHAPE = 0
    const val TYPE = 1
    const val BUFFER = 2
    const val NAME = 3
}

internal object BufferField {
    const val DATA = 0
    const val OFFSET = 1
    const val SIZE = 2
}

internal object MetadataField {
    const val NAME = 0
    const val BUFFER = 1
}

internal object SignatureField {
    const val KEY = 2
}

/** TensorType.FLOAT32. */
internal const val FLOAT32_TENSOR = 0
