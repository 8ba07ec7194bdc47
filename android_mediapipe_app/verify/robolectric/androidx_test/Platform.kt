package androidx.test.platform.app

import android.app.Instrumentation
import android.os.Bundle

// The types of androidx.test that Robolectric's own classes name, written from their public interface: the library is in Google's
// repository only. Whatever Robolectric does not call is left out.

object InstrumentationRegistry {
    private var instrumentation: Instrumentation? = null

    @JvmStatic
    fun getInstrumentation(): Instrumentation = checkNotNull(instrumentation) { "no test of Robolectric's is running" }

    @Suppress("UNUSED_PARAMETER")
    @JvmStatic
    fun registerInstance(instance: Instrumentation?, arguments: Bundle?) {
        instrumentation = instance
    }
}
