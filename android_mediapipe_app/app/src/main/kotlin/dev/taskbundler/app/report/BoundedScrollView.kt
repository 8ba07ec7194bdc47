package dev.taskbundler.app.report

import android.content.Context
import android.util.AttributeSet
import android.widget.ScrollView

/** A text that scrolls when it would take more than a quarter of the screen from what the screen is there for. */
class BoundedScrollView(context: Context, attributes: AttributeSet) : ScrollView(context, attributes) {
    override fun onMeasure(widthMeasureSpec: Int, heightMeasureSpec: Int) {
        val most = minOf(MeasureSpec.getSize(heightMeasureSpec), resources.displayMetrics.heightPixels / PART_OF_SCREEN)
        super.onMeasure(widthMeasureSpec, MeasureSpec.makeMeasureSpec(most, MeasureSpec.AT_MOST))
    }

    private companion object {
        const val PART_OF_SCREEN = 4
    }
}
