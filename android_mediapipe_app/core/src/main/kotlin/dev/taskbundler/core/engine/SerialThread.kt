package dev.taskbundler.core.engine

import java.util.concurrent.ScheduledThreadPoolExecutor
import java.util.concurrent.TimeUnit

/** Runs tasks one after the other, in the order they were given. */
interface SerialThread {
    fun post(task: () -> Unit)

    /** The returned function takes [task] back if it has not begun. */
    fun postDelayed(millis: Long, task: () -> Unit): () -> Unit
}

/** A thread of its own, which does not keep the process alive. */
class BackgroundThread(name: String) : SerialThread {
    private val executor = ScheduledThreadPoolExecutor(1) { task ->
        Thread(task, name).apply { isDaemon = true }
    }.apply { removeOnCancelPolicy = true }

    override fun post(task: () -> Unit) = executor.execute(task)

    override fun postDelayed(millis: Long, task: () -> Unit): () -> Unit {
        val future = executor.schedule(task, millis, TimeUnit.MILLISECONDS)
        return { future.cancel(false) }
    }

    /** Takes no more tasks; those given are done, delayed ones are not. */
    fun shutdown() {
        executor.executeExistingDelayedTasksAfterShutdownPolicy = false
        executor.shutdown()
    }
}
