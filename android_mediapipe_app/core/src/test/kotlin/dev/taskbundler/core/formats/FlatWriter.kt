package dev.taskbundler.core.formats

/** Something that is written after the table that refers to it. */
sealed class FlatItem

class Table(vararg val fields: Pair<Int, Any>) : FlatItem()

class Bytes(val bytes: ByteArray, val alignment: Int = 4) : FlatItem()

class Ints(val values: List<Int>) : FlatItem()

/** A list of tables; it is said to have [count], the references after the last being zeros. */
class Tables(val tables: List<Table>, val count: Int = tables.size) : FlatItem()

/** A flatbuffer written from its root on: tables of Byte, Int, Long, String and [FlatItem] fields. Enough for tests, right or wrong. */
class FlatWriter(identifier: String) {
    private var bytes = ByteArray(8).also { identifier.toByteArray().copyInto(it, 4) }

    /** Where each [Bytes] was put. */
    val places = HashMap<Bytes, Int>()

    fun build(root: Table): ByteArray {
        val at = table(root)
        bytes.putI32(0, at)
        return bytes
    }

    private fun align(size: Int) {
        bytes += ByteArray((size - bytes.size % size) % size)
    }

    private fun table(table: Table): Int {
        val last = table.fields.maxOfOrNull { it.first } ?: -1
        align(8)
        val vtable = bytes.size
        val vtableSize = 4 + 2 * (last + 1)
        bytes += ByteArray((vtableSize + 7) / 8 * 8)
        val at = bytes.size
        // Eight bytes a field, whatever its type, after the reference to the vtable.
        bytes += ByteArray(8 + 8 * table.fields.size)
        bytes.putI32(at, at - vtable)
        bytes.putShort(vtable, vtableSize)
        bytes.putShort(vtable + 2, bytes.size - at)
        for ((index, field) in table.fields.withIndex()) bytes.putShort(vtable + 4 + 2 * field.first, 8 + 8 * index)
        for ((index, field) in table.fields.withIndex()) {
            val place = at + 8 + 8 * index
            when (val value = field.second) {
                is Byte -> bytes[place] = value

                is Int -> bytes.putI32(place, value)

                is Long -> {
                    bytes.putI32(place, value.toInt())
                    bytes.putI32(place + 4, (value shr 32).toInt())
                }

                is String -> refer(place, Bytes(value.toByteArray()))

                is FlatItem -> refer(place, value)
            }
        }
        return at
    }

    private fun refer(place: Int, item: FlatItem) {
        val at = when (item) {
            is Table -> table(item)

            is Bytes -> vector(item.bytes.size, item.bytes, item.alignment).also { places[item] = it + 4 }

            is Ints -> vector(
                item.values.size,
                ByteArray(4 * item.values.size).also {
                    for ((i, value) in item.values.withIndex()) it.putI32(4 * i, value)
                },
                4,
            )

            is Tables -> tables(item)
        }
        bytes.putI32(place, at - place)
    }

    private fun tables(item: Tables): Int {
        val at = vector(item.count, ByteArray(4 * item.count), 4)
        for ((index, table) in item.tables.withIndex()) refer(at + 4 + 4 * index, table)
        return at
    }

    private fun vector(count: Int, content: ByteArray, alignment: Int): Int {
        while ((bytes.size + 4) % alignment != 0) bytes += 0
        val at = bytes.size
        bytes += ByteArray(4).apply { putI32(0, count) } + content
        return at
    }

    private fun ByteArray.putShort(at: Int, value: Int) {
        this[at] = value.toByte()
        this[at + 1] = (value shr 8).toByte()
    }
}
