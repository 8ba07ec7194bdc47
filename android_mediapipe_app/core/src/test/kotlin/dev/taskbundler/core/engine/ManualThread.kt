package dev.taskbundler.core.engine

/** Tasks run when a test says so, on a clock that a test moves. */
class ManualThread : SerialThread {
    private class Delayed(val at: Long, val task: () -> Unit)

    private val tasks = ArrayDeque<() -> Unit>()
    private val delayed = ArrayList<Delayed>()
    private var millis = 0L

    fun nanos() = millis * 1_000_000

    override fun post(task: () -> Unit) {
        synchronized(tasks) { tasks.addLast(task) }
    }

    override fun postDelayed(millis: Long, task: () -> Unit): () -> Unit {
        val entry = Delayed(this.millis + millis, task)
        delayed += entry
        return { delayed -= entry }
    }

    fun run() {
        while (true) (synchronized(tasks) { tasks.removeFirstOrNull() } ?: return)()
    }

    fun pass(millis: Long) {
        val end = this.millis + millis
        run()
        while (true) {
            val next = delayed.filter { it.at <= end }.minByOrNull { it.at } ?: break
            delayed -= next
            this.millis = next.at
            next.task()
            run()
        }
        this.millis = end
    }
}
