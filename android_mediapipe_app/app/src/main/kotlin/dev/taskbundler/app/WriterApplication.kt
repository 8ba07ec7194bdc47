package dev.taskbundler.app

import android.app.Application
import android.content.ComponentCallbacks2
import android.content.Context
import android.os.Debug
import android.os.Handler
import android.os.Looper
import dev.taskbundler.app.compare.ComparePresenter
import dev.taskbundler.app.engine.AndroidEngines
import dev.taskbundler.app.engine.openTrainer
import dev.taskbundler.app.figures.FigureBook
import dev.taskbundler.app.figures.measureMemory
import dev.taskbundler.app.figures.memoryOfPhone
import dev.taskbundler.app.library.LibraryPresenter
import dev.taskbundler.app.library.packedSources
import dev.taskbundler.app.report.EventLog
import dev.taskbundler.app.report.wasClosedByHand
import dev.taskbundler.app.settings.PreferenceValues
import dev.taskbundler.app.settings.SettingsStore
import dev.taskbundler.app.state.AppContainer
import dev.taskbundler.app.state.CatalogueRepository
import dev.taskbundler.app.state.EventHub
import dev.taskbundler.app.teach.Classroom
import dev.taskbundler.app.teach.TeachPresenter
import dev.taskbundler.app.write.DeskStore
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
    lateinit var teaching: TeachPresenter
        private set

    override fun onCreate() {
        super.onCreate()
        val handler = Handler(Looper.getMainLooper())
        val screen = Executor { handler.post(it) }
        val events = EventHub(screen)
        val marker = LoadMarker(File(filesDir, "tried"))
        if (wasClosedByHand(this)) marker.forget()
        val log = EventLog(File(filesDir, "log"), BackgroundThread("log")::post)
        logUncaught(log)
        container = AppContainer(
            repository = CatalogueRepository(Catalogue(File(filesDir, "models"), File(cacheDir, "engines"))),
            files = BackgroundThread("files"),
            screen = screen,
            controller = EngineController(AndroidEngines(this), BackgroundThread("engine"), events, marker),
            events = events,
            marker = marker,
            settings = SettingsStore(PreferenceValues(getSharedPreferences("settings", Context.MODE_PRIVATE))),
            log = log,
            memory = { Debug.getPss() * BYTES_PER_KIBIBYTE },
            figures = FigureBook(events, screen, BackgroundThread("figures"), { measureMemory(this) }),
        )
        writing = WritePresenter(container, DeskStore(File(filesDir, "texts"), File(filesDir, "draft")), BackgroundThread("draft"))
        library = LibraryPresenter(container, writing)
        comparing = ComparePresenter(container)
        teaching = TeachPresenter(container, writing, Classroom(::openTrainer, BackgroundThread("training"), { memoryOfPhone(this).availMem }))
        writing.start()
        importPacked()
    }

    /** Once: what the user then deletes does not come back. */
    private fun importPacked() {
        val sources = packedSources(assets)
        if (sources.isNotEmpty() && File(filesDir, "packed").createNewFile()) library.import(sources)
    }

    override fun onTrimMemory(level: Int) {
        super.onTrimMemory(level)
        // When nothing of the app is seen only the list of recent apps' order tells how near its end is; while it is seen, the level does.
        if (level >= ComponentCallbacks2.TRIM_MEMORY_BACKGROUND || level == RUNNING_CRITICAL) {
            writing.unload()
            teaching.endForMemory()
        }
    }

    private fun logUncaught(log: EventLog) {
        val before = Thread.getDefaultUncaughtExceptionHandler()
        Thread.setDefaultUncaughtExceptionHandler { thread, fault ->
            log.addNow("uncaught on ${thread.name}: $fault at ${fault.stackTrace.take(FRAMES).joinToString(" < ")}")
            before?.uncaughtException(thread, fault)
        }
    }

    private companion object {
        const val BYTES_PER_KIBIBYTE = 1024L
        const val FRAMES = 8

        /** ComponentCallbacks2.TRIM_MEMORY_RUNNING_CRITICAL, which Android has deprecated since it tells it no more (API 34). */
        const val RUNNING_CRITICAL = 15
    }
}

/** The process-wide parts, from any screen. */
val Context.app get() = applicationContext as WriterApplication
