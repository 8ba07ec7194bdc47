package dev.taskbundler.app.report

import android.content.ClipData
import android.content.ClipboardManager
import android.content.Context
import android.content.Intent
import android.os.Build
import dev.taskbundler.app.R
import dev.taskbundler.app.app

/** Most of the log that fits into what one app hands to another. */
private const val MOST_CHARACTERS = 60_000

/** Let the user send the log to whomever they like. It has no text of theirs: only what happened, the settings and the phone. */
fun shareLog(context: Context) {
    val settings = context.app.container.settings.read()
    val head = listOf(
        context.packageManager.getPackageInfo(context.packageName, 0).versionName,
        "Android ${Build.VERSION.RELEASE} (${Build.VERSION.SDK_INT})",
        "${Build.MANUFACTURER} ${Build.MODEL} ${Build.SUPPORTED_ABIS.joinToString()}",
        settings.copy(words = "${settings.words.length} characters"),
    )
    val text = head.joinToString("\n") + "\n\n" + context.app.container.log.text().takeLast(MOST_CHARACTERS)
    share(context, context.getString(R.string.log_title), text, context.getString(R.string.log_share))
}

/** Put [text] where other apps paste from. */
fun copy(context: Context, label: String, text: String) {
    val clipboard = context.getSystemService(Context.CLIPBOARD_SERVICE) as ClipboardManager
    clipboard.setPrimaryClip(ClipData.newPlainText(label, text))
}

/** Let the user hand [text] to another app. */
fun share(context: Context, subject: String, text: String, title: String) {
    val send = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_SUBJECT, subject).putExtra(Intent.EXTRA_TEXT, text)
    context.startActivity(Intent.createChooser(send, title))
}
