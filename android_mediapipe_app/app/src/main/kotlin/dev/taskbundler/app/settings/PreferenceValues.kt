package dev.taskbundler.app.settings

import android.content.SharedPreferences

/** [KeyValues] in Android's preferences. */
class PreferenceValues(private val preferences: SharedPreferences) : KeyValues {
    override fun get(key: String): String? = preferences.getString(key, null)

    override fun put(values: Map<String, String>) {
        val editor = preferences.edit()
        for ((key, value) in values) editor.putString(key, value)
        editor.apply()
    }
}
