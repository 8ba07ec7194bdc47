package dev.taskbundler.app.report

import android.annotation.TargetApi
import android.app.ActivityManager
import android.app.ApplicationExitInfo
import android.content.Context
import android.os.Build
import dev.taskbundler.app.R

/** Whether the user ended the app the last time: swiped it away, perhaps while a bundle was being opened. Not told before Android 11. */
fun wasClosedByHand(context: Context): Boolean =
    Build.VERSION.SDK_INT >= Build.VERSION_CODES.R && lastReason(context) == ApplicationExitInfo.REASON_USER_REQUESTED

/** Why the system ended the app the last time, in the user's language; null before Android 11, which does not tell. */
fun lastExit(context: Context): String? {
    if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R) return null
    return when (val reason = lastReason(context)) {
        null -> null
        ApplicationExitInfo.REASON_CRASH -> context.getString(R.string.exit_crash)
        ApplicationExitInfo.REASON_CRASH_NATIVE -> context.getString(R.string.exit_native_crash)
        ApplicationExitInfo.REASON_LOW_MEMORY -> context.getString(R.string.exit_low_memory)
        ApplicationExitInfo.REASON_ANR -> context.getString(R.string.exit_not_responding)
        ApplicationExitInfo.REASON_USER_REQUESTED -> context.getString(R.string.exit_user)
        else -> context.getString(R.string.exit_other, reason)
    }
}

/** For Android 11 and newer. */
@TargetApi(Build.VERSION_CODES.R)
private fun lastReason(context: Context): Int? {
    val manager = context.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager
    return manager.getHistoricalProcessExitReasons(context.packageName, 0, 1).firstOrNull()?.reason
}
