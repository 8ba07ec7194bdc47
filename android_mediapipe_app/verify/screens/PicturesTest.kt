package dev.taskbundler.screens

import android.app.Activity
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Color
import android.widget.TextView
import dev.taskbundler.app.R
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.ParameterizedRobolectricTestRunner
import org.robolectric.ParameterizedRobolectricTestRunner.Parameters
import org.robolectric.RuntimeEnvironment
import org.robolectric.shadows.ShadowLooper
import java.io.File
import kotlin.math.abs

/**
 * Screens as they were when they were looked at last. The system property `pictures` is the folder; with `write` they are drawn anew.
 */
@RunWith(ParameterizedRobolectricTestRunner::class)
class PicturesTest(private val screen: String, private val light: String) {
    @get:Rule
    val cleanApp = CleanApp()

    @Test
    fun itLooksAsItDid() {
        val screen = SCREENS.first { it.name == screen }
        RuntimeEnvironment.setQualifiers("en-w360dp-h640dp-$light-mdpi")
        screen.prepare()
        val opened = screen.open().get()
        forgetMachine(opened)
        val drawn = picture(screen.window(opened))
        val file = File(System.getProperty("pictures")!!, "${screen.name}-${if (light == "night") "dark" else "light"}.png")
        if (System.getProperty("write") != null) {
            file.outputStream().use { drawn.compress(Bitmap.CompressFormat.PNG, 100, it) }
            return
        }
        val before = BitmapFactory.decodeFile(file.path)
        assertEquals("${file.name} has another size", before.width to before.height, drawn.width to drawn.height)
        val different = difference(before, drawn)
        assertTrue("${file.name} differs by %.2f %% of what could differ; draw it anew if it should".format(100 * different), different < TOLERANCE)
    }

    /** What the clock and the disk of this machine say is another every time, and nothing of a phone. */
    private fun forgetMachine(screen: Activity) {
        for (id in listOf(R.id.figures, R.id.base_figures, R.id.adapted_figures)) screen.findViewById<TextView>(id)?.text = ""
        screen.findViewById<TextView>(R.id.free)?.text = screen.getString(R.string.library_free, "12 GB")
        ShadowLooper.idleMainLooper()
    }

    /** Between two pictures, from 0 to 1: letters are drawn a little differently from machine to machine. */
    private fun difference(before: Bitmap, after: Bitmap): Double {
        var sum = 0L
        for (y in 0 until before.height) {
            for (x in 0 until before.width) {
                val (a, b) = before.getPixel(x, y) to after.getPixel(x, y)
                sum += abs(Color.red(a) - Color.red(b)) + abs(Color.green(a) - Color.green(b)) + abs(Color.blue(a) - Color.blue(b))
            }
        }
        return sum / (3.0 * 255 * before.width * before.height)
    }

    companion object {
        /** A word more in a line makes half a percent. */
        private const val TOLERANCE = 0.003

        @JvmStatic
        @Parameters(name = "{0} {1}")
        fun pictures() = listOf("suggestion", "adapter", "compare", "library").flatMap { name ->
            listOf("notnight", "night").map { arrayOf(name, it) }
        }
    }
}
