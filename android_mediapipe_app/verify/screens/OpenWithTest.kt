package dev.taskbundler.screens

import android.content.Intent
import android.content.pm.PackageManager
import android.net.Uri
import org.junit.Assert.assertEquals
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner

/** For which files a file manager offers this app, by Android's own rules. */
@RunWith(RobolectricTestRunner::class)
class OpenWithTest {
    private val library = "dev.taskbundler.app.library.LibraryActivity"

    private fun offered(intent: Intent): List<String> =
        phone.packageManager.queryIntentActivities(intent, PackageManager.MATCH_DEFAULT_ONLY).map { it.activityInfo.name }

    private fun view(address: String, type: String?) = Intent(Intent.ACTION_VIEW).apply { setDataAndType(Uri.parse(address), type) }

    private fun assertOffered(isOffered: Boolean, vararg intents: Intent) {
        for (intent in intents) {
            assertEquals(
                "${intent.dataString} as ${intent.type}",
                if (isOffered) listOf(library) else emptyList(),
                offered(intent),
            )
        }
    }

    @Test
    fun filesThatAreNamedLikeABundle() = assertOffered(
        true,
        view("content://downloads/my/sample.task", "application/octet-stream"),
        view("content://downloads/my/sample.task", "application/zip"),
        view("content://downloads/my/sample.litertlm", "application/octet-stream"),
        view("content://downloads/my/pirate.tflite", "text/plain"),
        view("file:///sdcard/Download/sample.task", "application/octet-stream"),
    )

    @Test
    fun filesWithMoreDotsInTheirNames() = assertOffered(
        true,
        view("content://downloads/my/gpt2.v1.2.task", "application/zip"),
        view("content://com.example.files/root/storage.dir/gpt2-0.1.litertlm", "application/x-unknown"),
        view("file:///sdcard/Download/a.b.c.d.tflite", "application/zip"),
    )

    @Test
    fun filesThatAreOnlyNumbered() = assertOffered(true, view("content://media/external/file/17", "application/octet-stream"))

    @Test
    fun oneOrSeveralFilesThatAreSent() = assertOffered(
        true,
        Intent(Intent.ACTION_SEND).setType("application/octet-stream"),
        Intent(Intent.ACTION_SEND_MULTIPLE).setType("application/octet-stream"),
    )

    @Test
    fun nothingElse() = assertOffered(
        false,
        view("content://media/external/images/17", "image/png"),
        view("content://downloads/my/notes.txt", "text/plain"),
        view("https://example.com/sample.task", "application/octet-stream"),
        Intent(Intent.ACTION_SEND).setType("text/plain"),
    )
}
