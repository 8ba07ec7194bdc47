package dev.taskbundler.screens

import android.content.res.Resources
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Rect
import android.text.Layout
import android.text.Spanned
import android.text.style.ForegroundColorSpan
import android.view.View
import android.view.ViewGroup
import android.view.accessibility.AccessibilityNodeInfo
import android.widget.CompoundButton
import android.widget.EditText
import android.widget.HorizontalScrollView
import android.widget.ScrollView
import android.widget.TextView
import dev.taskbundler.app.R
import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow

/** A window as it is drawn. */
fun picture(window: View): Bitmap {
    // It blinks, and would be taken for letters.
    window.everything().filterIsInstance<EditText>().forEach { it.isCursorVisible = false }
    return Bitmap.createBitmap(window.width, window.height, Bitmap.Config.ARGB_8888).also { window.draw(Canvas(it)) }
}

/**
 * What a user would complain of in a [window]: text that is cut off, views off the screen, targets too small for a finger, contrasts
 * too low to read, and views that act and have nothing for a screen reader to say.
 */
class Examination(private val window: View) {
    private val drawn = picture(window)
    private val density = window.resources.displayMetrics.density

    // What is a density-independent pixel wide is there for screen readers.
    private val shown = window.everything().filter { it.isShown && it.width > ceil(density) && it.height > ceil(density) }

    /** To be asked once: the picture is given back, which no collection of garbage would do in time. */
    fun findings(): List<String> = shown.flatMap { view ->
        listOfNotNull(cutOff(view), offScreen(view), tooSmall(view), unlabelled(view), tooFaint(view), unreachable(view), cramped(view))
    }.also { drawn.recycle() }

    private fun cutOff(view: View): String? {
        val layout = (view as? TextView)?.layout ?: return null
        if (view is EditText || view.text.isEmpty()) return null
        val width = view.width - view.totalPaddingLeft - view.totalPaddingRight
        val height = view.height - view.totalPaddingTop - view.totalPaddingBottom
        return when {
            // The text that is continued is shown by its end.
            (0 until layout.lineCount).any { layout.getEllipsisCount(it) > 0 } && view.id != R.id.prompt -> "${name(view)} is cut off with …"

            layout.height > height + 1 -> "${name(view)} is cut off: ${layout.height} pixels of text in a height of $height"

            view.id != R.id.prompt && (0 until layout.lineCount).any { layout.getLineMax(it) > width + 1 } ->
                "${name(view)} is cut off: a line is wider than $width pixels"

            isBroken(layout) -> "${name(view)} is broken in the middle of a word"

            else -> null
        }
    }

    /** Whether a line ends between two letters. */
    private fun isBroken(layout: Layout) = (0 until layout.lineCount - 1).any { line ->
        val end = layout.getLineEnd(line)
        layout.text[end - 1].isLetter() && layout.text[end].isLetter()
    }

    private fun offScreen(view: View): String? {
        if (view is ViewGroup) return null
        val place = Rect(0, 0, view.width, view.height)
        var inner = view
        while (true) {
            val outer = inner.parent as? View ?: return null
            place.offset(inner.left - outer.scrollX, inner.top - outer.scrollY)
            // What scrolls may be longer than what shows it, in its direction.
            if (outer is ScrollView) place.set(place.left, max(0, min(place.top, outer.height)), place.right, max(0, min(place.bottom, outer.height)))
            if (outer is HorizontalScrollView) {
                place.set(max(0, min(place.left, outer.width)), place.top, max(0, min(place.right, outer.width)), place.bottom)
            }
            if (!Rect(
                    0,
                    0,
                    outer.width,
                    outer.height,
                ).contains(place)
            ) {
                return "${name(view)} is off the screen: $place of ${outer.width} x ${outer.height}"
            }
            inner = outer
        }
    }

    /** The button that a screen is there for may not have to be looked for. */
    private fun unreachable(view: View): String? {
        if (view.id !in MAIN_BUTTONS) return null
        val seen = Rect()
        val isWhole = view.getGlobalVisibleRect(seen) && seen.width() == view.width && seen.height() == view.height
        return if (isWhole) null else "${name(view)} is not on the screen"
    }

    /** The text is what the writing screen is there for. */
    private fun cramped(view: View): String? {
        if (view.id != R.id.text) return null
        val lines = (view.height - view.paddingTop - view.paddingBottom) / (view as EditText).lineHeight
        return if (lines < LEAST_LINES) "${name(view)} shows $lines lines" else null
    }

    private fun tooSmall(view: View): String? {
        if (!acts(view) || !view.isEnabled) return null
        val least = LEAST_TARGET * density - 1
        return if (view.width >= least &&
            view.height >= least
        ) {
            null
        } else {
            "${name(view)} is too small for a finger: ${dp(view.width)} x ${dp(view.height)} dp"
        }
    }

    private fun unlabelled(view: View): String? {
        if (!acts(view)) return null
        val told = AccessibilityNodeInfo(view)
        view.onInitializeAccessibilityNodeInfo(told)
        val isLabelled = window.everything().any { it.labelFor == view.id && view.id != View.NO_ID }
        val says = listOf(told.text, told.contentDescription, told.hintText).any { !it.isNullOrBlank() } || isLabelled
        return if (says) null else "${name(view)} has nothing for a screen reader to say"
    }

    private fun acts(view: View) = view is CompoundButton || view is EditText || (view.isClickable && view.hasOnClickListeners())

    private fun tooFaint(view: View): String? {
        if (view !is TextView || !view.isEnabled || Color.alpha(view.currentTextColor) == 0) return null
        val layout = view.layout ?: return null
        return words(view, layout).map { contrast(it) }.filter { it < LEAST_CONTRAST }.minOrNull()
            ?.let { "${name(view)} is too faint: a contrast of %.1f : 1".format(it) }
    }

    /** Where the window has text of one color, line by line, as far as it is not scrolled away. */
    private fun words(view: TextView, layout: Layout): List<Rect> {
        val seen = Rect()
        if (!view.getGlobalVisibleRect(seen)) return emptyList()
        val place = IntArray(2).also { view.getLocationInWindow(it) }
        val left = place[0] + view.totalPaddingLeft - view.scrollX
        val top = place[1] + view.totalPaddingTop - view.scrollY
        return (0 until layout.lineCount).flatMap { line ->
            val end = layout.getLineVisibleEnd(line)
            val runs = ArrayList<Rect>()
            var start = layout.getLineStart(line)
            while (start < end) {
                val next = (layout.text as? Spanned)?.nextSpanTransition(start, end, ForegroundColorSpan::class.java) ?: end
                if (layout.text.subSequence(start, next).any { it.isLetterOrDigit() }) {
                    val (from, to) = listOf(
                        layout.getPrimaryHorizontal(start),
                        if (next <
                            end
                        ) {
                            layout.getPrimaryHorizontal(next)
                        } else {
                            edge(layout, line)
                        },
                    ).sorted()
                    val run = Rect(
                        left + floor(from).toInt(),
                        top + layout.getLineTop(line),
                        left + ceil(to).toInt(),
                        top + layout.getLineBottom(line),
                    )
                    // A line that is half scrolled away shows too little of its letters.
                    if (seen.contains(run)) runs += run
                }
                start = next
            }
            runs
        }
    }

    private fun edge(layout: Layout, line: Int) =
        if (layout.getParagraphDirection(line) == Layout.DIR_LEFT_TO_RIGHT) layout.getLineRight(line) else layout.getLineLeft(line)

    /** Between the most frequent color in a place and the one that differs most from it: anti-aliased letters have all between. */
    private fun contrast(place: Rect): Double {
        if (!place.intersect(0, 0, drawn.width, drawn.height)) return LEAST_CONTRAST
        val pixels = IntArray(place.width() * place.height())
        drawn.getPixels(pixels, 0, place.width(), place.left, place.top, place.width(), place.height())
        pixels.sort()
        val colors = ArrayList<Int>()
        var (ground, most) = pixels[0] to 0
        var start = 0
        for (end in 1..pixels.size) {
            if (end < pixels.size && pixels[end] == pixels[start]) continue
            colors += pixels[start]
            if (end - start > most) {
                most = end - start
                ground = pixels[start]
            }
            start = end
        }
        return colors.maxOf { ratio(luminance(it), luminance(ground)) }
    }

    private fun dp(pixels: Int) = (pixels / density).toInt()

    private fun name(view: View): String {
        val id = try {
            if (view.id == View.NO_ID) null else view.resources.getResourceEntryName(view.id)
        } catch (_: Resources.NotFoundException) {
            null
        }
        val said = (view as? TextView)?.text?.ifEmpty { view.hint }?.take(NAME_LETTERS) ?: view.contentDescription
        return "${view.javaClass.simpleName} ${id ?: ""} “${said ?: ""}”"
    }

    private companion object {
        /** Density-independent pixels: Android's and WCAG's target size. */
        const val LEAST_TARGET = 48

        /** WCAG 2.2, 1.4.3. */
        const val LEAST_CONTRAST = 4.5
        const val LEAST_LINES = 2
        const val NAME_LETTERS = 30
        val MAIN_BUTTONS = setOf(R.id.go_on, R.id.stop, R.id.run, R.id.pick, R.id.new_text)
    }
}

/** The relative luminance of WCAG 2.2. */
private fun luminance(color: Int): Double {
    fun part(value: Int) = (value / 255.0).let { if (it <= 0.04045) it / 12.92 else ((it + 0.055) / 1.055).pow(2.4) }
    return 0.2126 * part(Color.red(color)) + 0.7152 * part(Color.green(color)) + 0.0722 * part(Color.blue(color))
}

private fun ratio(a: Double, b: Double) = (max(a, b) + 0.05) / (min(a, b) + 0.05)
