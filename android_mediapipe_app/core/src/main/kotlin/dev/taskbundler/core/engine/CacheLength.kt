package dev.taskbundler.core.engine

/**
 * How many tokens the cache of a model has room for when it is opened. One that grows does so up to [most], in multiples of [step], a
 * length of prefill: else the last chunk of a prompt would not fit. Each time the engine is opened again.
 */
data class CacheLength(val tokens: Int, val most: Int, val step: Int) {
    /** One with room for a text of so many tokens, longer by a half at least, or with as much as there is. */
    fun holding(needed: Int): CacheLength = if (needed <= tokens) this else copy(tokens = minOf(most, roundedUp(maxOf(needed, tokens * 3 / 2), step)))

    companion object {
        /** Room at first; `task-bundler run` has the same. */
        const val FIRST = 256

        fun growing(most: Int, step: Int) = CacheLength(minOf(most, roundedUp(FIRST, step)), most, step)

        fun fixed(tokens: Int) = CacheLength(tokens, tokens, 1)
    }
}

private fun roundedUp(number: Int, step: Int) = (number + step - 1) / step * step
