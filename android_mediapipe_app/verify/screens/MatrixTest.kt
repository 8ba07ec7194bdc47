package dev.taskbundler.screens

import org.junit.Assert.assertEquals
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.ParameterizedRobolectricTestRunner
import org.robolectric.ParameterizedRobolectricTestRunner.Parameters
import org.robolectric.RuntimeEnvironment

/** Every screen in every language, light, size and font, examined. */
@RunWith(ParameterizedRobolectricTestRunner::class)
class MatrixTest(private val screen: String) {
    @get:Rule
    val cleanApp = CleanApp()

    @Test
    fun nothingIsWrongWithIt() {
        val screen = SCREENS.first { it.name == screen }
        RuntimeEnvironment.setQualifiers(CONFIGURATIONS.first().qualifiers)
        screen.prepare()
        val findings = LinkedHashMap<String, ArrayList<String>>()
        for (configuration in CONFIGURATIONS) {
            RuntimeEnvironment.setQualifiers(configuration.qualifiers)
            RuntimeEnvironment.setFontScale(configuration.font)
            val opened = screen.open()
            for (finding in Examination(screen.window(opened.get())).findings()) {
                findings.getOrPut(finding) { ArrayList() } +=
                    configuration.toString()
            }
            opened.close()
        }
        assertEquals(emptyList<String>(), findings.map { (finding, where) -> "$finding (${where.size} of ${CONFIGURATIONS.size}, first $where)" })
    }

    companion object {
        @JvmStatic
        @Parameters(name = "{0}")
        fun screens() = SCREENS.map { arrayOf(it.name) }
    }
}

/** Several processes may share the configurations: this one has every [PARTS]th. */
private val PARTS = Integer.getInteger("parts", 1)
private val PART = Integer.getInteger("part", 0)

/** How a phone is set up. */
data class Configuration(val language: String, val isNight: Boolean, val size: Size, val font: Float) {
    val qualifiers get() = "$language-w${size.width}dp-h${size.height}dp-${if (isNight) "night" else "notnight"}-${size.density}"

    override fun toString() = "$language ${size.width}x${size.height} ${if (isNight) "night" else "day"} ${(font * 100).toInt()} %"
}

/** In density-independent pixels, and with a density. On a coarser one than these, thin letters have no pixel of their own color to measure. */
data class Size(val width: Int, val height: Int, val density: String)

private val SIZES = listOf(Size(320, 533, "hdpi"), Size(360, 640, "xhdpi"), Size(411, 891, "xhdpi"), Size(800, 1280, "hdpi"))
private val FONTS = listOf(1f, 1.3f, 2f)

/**
 * All sizes with all fonts, in each language, and from right to left, where the texts are English. The dark has other colors and no
 * other sizes: once for each size.
 */
val CONFIGURATIONS = listOf("en", "pt-rBR", "ar-ldrtl").flatMapIndexed { row, language ->
    SIZES.flatMapIndexed { column, size ->
        val all = FONTS.map { Configuration(language, false, size, it) } + Configuration(language, true, size, FONTS[0])
        // Not the same fonts of each size, nor in each language.
        all.filterIndexed { number, _ -> (row + column + number) % PARTS == PART }
    }
}
