package dev.taskbundler.app.write

import android.graphics.Paint
import android.view.LayoutInflater
import android.view.View
import android.widget.RadioButton
import android.widget.RadioGroup
import dev.taskbundler.app.R

/**
 * A row of voices of which one is chosen. A tap chooses ([onChoose]), a long press shows more about it ([onMore]).
 *
 * @param description the text resource, with the name's place, that a screen reader speaks
 */
class ChipRow(
    private val group: RadioGroup,
    private val description: Int,
    private val onChoose: (String?) -> Unit,
    private val onMore: (String) -> Unit,
) {
    private var last: List<Chip>? = null

    fun show(chips: List<Chip>) {
        if (chips == last) return
        if (chips.map { it.id to it.name } != last?.map { it.id to it.name }) rebuild(chips)
        last = chips
        check(chips)
    }

    private fun check(chips: List<Chip>) = chips.forEachIndexed { index, chip -> (group.getChildAt(index) as RadioButton).isChecked = chip.isChosen }

    private fun rebuild(chips: List<Chip>) {
        group.removeAllViews()
        for (chip in chips) {
            val button = LayoutInflater.from(group.context).inflate(R.layout.chip, group, false) as RadioButton
            button.id = View.generateViewId()
            // Else the width of each letter is rounded, and where a pixel is large, the last one has too little room.
            button.paintFlags = button.paintFlags or Paint.LINEAR_TEXT_FLAG
            button.text = if (chip.id == null) group.context.getString(R.string.base) else chip.name
            button.contentDescription =
                if (chip.id == null) group.context.getString(R.string.chip_base_description) else group.context.getString(description, chip.name)
            button.setOnClickListener {
                onChoose(chip.id)
                // The tap has checked it, also where it was not to be chosen.
                last?.let(::check)
            }
            button.setOnLongClickListener {
                chip.id?.let(onMore)
                chip.id != null
            }
            group.addView(button)
        }
    }
}
