package dev.taskbundler.core.task

import dev.taskbundler.core.tflite.readSignatures

/**
 * Look at the model's signatures, as a phone's engine does when it loads it. Throws FindingException if it is no TFLite model, one
 * for browsers only, or one without the signatures `decode` and `prefill…`. The rest is the doctor's business.
 */
fun checkModel(task: TaskFile) {
    val entry = task.usable(MODEL)
    readSignatures(task.file, entry.offset, entry.size)
}
