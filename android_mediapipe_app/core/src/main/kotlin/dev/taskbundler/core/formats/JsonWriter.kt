package dev.taskbundler.core.formats

/** [value] as JSON, in the form that Python's json module gives it: a map, a list, a text, a finite number, a truth value or null. */
fun encodeJson(value: Any?): String = when (value) {
    is Map<*, *> -> value.entries.joinToString(prefix = "{", postfix = "}") { (name, member) ->
        "${encodeText(name.toString())}: ${encodeJson(member)}"
    }

    is List<*> -> value.joinToString(prefix = "[", postfix = "]") { encodeJson(it) }

    is String -> encodeText(value)

    else -> value.toString()
}

private fun encodeText(value: String): String = buildString {
    append('"')
    for (char in value) {
        when {
            char == '"' || char == '\\' -> append('\\').append(char)
            char < ' ' -> append("\\u%04x".format(char.code))
            else -> append(char)
        }
    }
    append('"')
}
