package dev.taskbundler.app

import android.app.Application
import android.content.Context
import android.os.Debug
import android.os.Handler
import android.os.Looper
import dev.taskbundler.app.compare.ComparePresenter
import dev.taskbundler.app.engine.AndroidEngines
import dev.taskbundler.app.library.LibraryPresenter
import dev.taskbundler.app.report.EventLog
import dev.taskbundler.app.settings.PreferenceValues
import dev.taskbundler.app.settings.SettingsStore
import dev.taskbundler.app.state.AppContainer
import dev.taskbundler.app.state.CatalogueRepository
import dev.taskbundler.app.state.EventHub
import dev.taskbundler.app.write.DraftStore
import dev.taskbundler.app.write.WritePresenter
import dev.taskbundler.core.catalogue.Catalogue
import dev.taskbundler.core.engine.BackgroundThread
import dev.taskbundler.core.engine.EngineController
import dev.taskbundler.core.engine.LoadMarker
import java.io.File
import java.util.concurrent.Executor

/** Holds what lives as long as the process, and puts it together. */
class WriterApplication : Application() {
    lateinit var container: AppContainer
        private set
    lateinit var writing: WritePresenter
        private set
    lateinit var library: LibraryPresenter
        private set
    lateinit var comparing: ComparePresenter
        private set

    override fun onCreate() {
        super.onCreate()
        val handler = Handler(Looper.getMainLooper())
        val screen = Executor { handler.post(it) }
        val events = EventHub(screen)
        val marker = LoadMarker(File(filesDir, "tried"))
        val log = EventLog(File(filesDir, "log"))
        logUncaught(log)
        container = AppContainer(
            repository = CatalogueRepository(Catalogue(File(filesDir, "models"))),
            files = BackgroundThread("files"),
            screen = screen,
            controller = EngineController(AndroidEngines(this), BackgroundThread("engine"), events, marker),
            events = events,
            marker = marker,
            settings = SettingsStore(PreferenceValues(getSharedPreferences("settings", Context.MODE_PRIVATE))),
            log = log,
            memory = ::memoryOfProcess,
        )
        writing = WritePresenter(container, DraftStore(File(filesDir, "draft")), BackgroundThread("draft"))
        library = LibraryPresenter(container, writing)
        comparing = ComparePresenter(container)
        writing.start()
    }

    private fun memoryOfProcess(): Long {
        val info = Debug.MemoryInfo()
        Debug.getMemoryInfo(info)
        return info.totalPss * BYTES_PER_KIBIBYTE
    }

    private fun logUncaught(log: EventLog) {
        val before = Thread.getDefaultUncaughtExceptionHandler()
        Thread.setDefaultUncaughtExceptionHandler { thread, fault ->
            log.add("uncaught on ${thread.name}: $fault at ${fault.stackTrace.take(FRAMES).joinToString(" < ")}")
            before?.uncaughtException(thread, fault)
        }
    }

    private companion object {
        const val BYTES_PER_KIBIBYTE = 1024L
        const val FRAMES = 8
    }
}

/** The process-wide parts, from any screen. */
val Context.app get() = applicationContext as WriterApplication
