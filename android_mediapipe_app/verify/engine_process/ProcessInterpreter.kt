package org.tensorflow.lite

import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File

// The interpreter of this machine behind LiteRT's Java API: in a process of this project's Python environment, trainer_process.py, that is
// sent each call as names, shapes and big-endian numbers. The command is the system property trainer.command, words divided by line breaks.

class Interpreter(file: File, @Suppress("UNUSED_PARAMETER") options: Options) : AutoCloseable {
    class Options {
        @Suppress("UNUSED_PARAMETER")
        fun setNumThreads(threads: Int) = this
    }

    private val process =
        ProcessBuilder(System.getProperty("trainer.command").split("\n") + file.path).redirectError(ProcessBuilder.Redirect.INHERIT).start()
    private val output = DataOutputStream(process.outputStream.buffered())
    private val input = DataInputStream(process.inputStream.buffered())

    fun runSignature(inputs: Map<String, Any>, outputs: Map<String, Any>, signatureKey: String) {
        output.writeUTF(signatureKey)
        output.writeInt(inputs.size)
        for ((name, value) in inputs) {
            output.writeUTF(name)
            send(value)
        }
        output.flush()
        require(input.readBoolean()) { input.readUTF() }
        repeat(input.readInt()) {
            val name = input.readUTF()
            val numbers = FloatArray(input.readInt()) { input.readFloat() }
            val place = outputs[name]
            val into = if (place is Array<*>) place.single() as FloatArray else place as FloatArray
            require(into.size == numbers.size) { "$name has ${numbers.size} numbers, and room for ${into.size}" }
            numbers.copyInto(into)
        }
    }

    override fun close() {
        output.close()
        process.waitFor()
    }

    /** Of the two forms that are used: one dimension, and one row of two. */
    private fun send(value: Any) {
        val row = if (value is Array<*>) value.single()!! else value
        output.writeBoolean(value is Array<*>)
        output.writeBoolean(row is IntArray)
        if (row is IntArray) {
            output.writeInt(row.size)
            row.forEach(output::writeInt)
        } else {
            output.writeInt((row as FloatArray).size)
            row.forEach(output::writeFloat)
        }
    }
}
