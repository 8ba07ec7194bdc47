package dev.taskbundler.core.formats

/** A JSON document. The functions give null where the value is of another type, so that a reader needs no casts. */
sealed class JsonValue {
    open val text: String? get() = null
    open val array: List<JsonValue>? get() = null

    /** The member called [name], null also if there is none. */
    open operator fun get(name: String): JsonValue? = null

    open fun int(): Int? = null

    open fun long(): Long? = null

    open fun double(): Double? = null
}

data object JsonNull : JsonValue()

data class JsonBoolean(val value: Boolean) : JsonValue()

/** A number as it is written: integers stay exact. */
data class JsonNumber(val written: String) : JsonValue() {
    override fun int(): Int? = written.toIntOrNull()

    override fun long(): Long? = written.toLongOrNull()

    override fun double(): Double? = written.toDouble()
}

data class JsonText(override val text: String) : JsonValue()

data class JsonArray(override val array: List<JsonValue>) : JsonValue()

data class JsonObject(val members: Map<String, JsonValue>) : JsonValue() {
    override fun get(name: String): JsonValue? = members[name]
}
