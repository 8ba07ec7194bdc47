package dev.taskbundler.app.settings

import android.app.Activity
import android.os.Bundle
import android.text.InputType
import android.view.LayoutInflater
import android.view.View
import android.widget.Button
import android.widget.CheckBox
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.RadioButton
import android.widget.TextView
import dev.taskbundler.app.R
import dev.taskbundler.app.app
import dev.taskbundler.core.engine.Backend
import dev.taskbundler.core.engine.EngineKind
import dev.taskbundler.core.writing.WordList

/** The settings, as a form. What is left in it is kept when the screen is left; a number that makes no sense keeps its last value. */
class SettingsActivity : Activity() {
    private val fields = LinkedHashMap<NumberField, EditText>()

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.screen_settings)
        actionBar?.setDisplayHomeAsUpEnabled(true)
        val list = findViewById<LinearLayout>(R.id.numbers)
        for (field in NumberField.entries) fields[field] = addNumber(list, field)
        findViewById<Button>(R.id.reset).setOnClickListener { show(Settings(words = findViewById<EditText>(R.id.words).text.toString())) }
        findViewById<CheckBox>(R.id.native_lora).setOnCheckedChangeListener { _, isOn -> if (isOn) allowNative() }
        show(app.container.settings.read())
    }

    override fun onPause() {
        app.container.settings.write(form().first)
        app.writing.reload()
        super.onPause()
    }

    private fun show(settings: Settings) {
        check(if (settings.engine == EngineKind.MEDIAPIPE) R.id.mediapipe else R.id.litertlm)
        check(if (settings.backend == Backend.CPU) R.id.cpu else R.id.gpu)
        findViewById<CheckBox>(R.id.native_lora).isChecked = settings.nativeLora
        for ((field, text) in settings.numbers()) fields.getValue(field).setText(text)
        findViewById<EditText>(R.id.words).setText(settings.words)
        countWords(settings.words)
    }

    private fun form(): Pair<Settings, Set<NumberField>> {
        val words = findViewById<EditText>(R.id.words).text.toString()
        return app.container.settings.read().copy(
            engine = if (isChecked(R.id.mediapipe)) EngineKind.MEDIAPIPE else EngineKind.LITERT_LM,
            backend = if (isChecked(R.id.cpu)) Backend.CPU else Backend.GPU,
            nativeLora = findViewById<CheckBox>(R.id.native_lora).isChecked,
            words = words,
        ).with(fields.mapValues { it.value.text.toString() })
    }

    /** The engine takes adapters in one combination only. */
    private fun allowNative() {
        check(R.id.mediapipe)
        check(R.id.gpu)
    }

    private fun addNumber(list: LinearLayout, field: NumberField): EditText {
        val row = LayoutInflater.from(this).inflate(R.layout.settings_number, list, false)
        val label = row.findViewById<TextView>(R.id.label)
        val value = row.findViewById<EditText>(R.id.value)
        value.id = View.generateViewId()
        label.labelFor = value.id
        label.setText(labelOf(field))
        value.inputType = InputType.TYPE_CLASS_NUMBER or if (field.isWhole) 0 else InputType.TYPE_NUMBER_FLAG_DECIMAL
        value.setOnFocusChangeListener { _, hasFocus -> if (!hasFocus) judge(field, value) }
        list.addView(row)
        return value
    }

    private fun judge(field: NumberField, value: EditText) {
        val isWrong = parseNumber(field, value.text.toString()) == null
        value.error = if (isWrong) getString(R.string.settings_number_wrong, plain(field.least), plain(field.most)) else null
        countWords(findViewById<EditText>(R.id.words).text.toString())
    }

    private fun plain(number: Double) = if (number == Math.rint(number)) number.toLong().toString() else number.toString()

    private fun countWords(words: String) {
        val count = WordList.parse(words).size
        findViewById<TextView>(R.id.words_count).text = resources.getQuantityString(R.plurals.settings_words_count, count, count)
    }

    private fun check(id: Int) {
        findViewById<RadioButton>(id).isChecked = true
    }

    private fun isChecked(id: Int) = findViewById<RadioButton>(id).isChecked

    private fun labelOf(field: NumberField) = when (field) {
        NumberField.CONTEXT -> R.string.settings_context
        NumberField.WINDOW -> R.string.settings_window
        NumberField.SUGGESTION -> R.string.settings_suggestion
        NumberField.TOP_K -> R.string.settings_top_k
        NumberField.TOP_P -> R.string.settings_top_p
        NumberField.TEMPERATURE -> R.string.settings_temperature
        NumberField.SEED -> R.string.settings_seed
    }
}
