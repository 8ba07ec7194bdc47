package dev.taskbundler.app.state

import dev.taskbundler.app.figures.FigureBook
import dev.taskbundler.app.report.EventLog
import dev.taskbundler.app.settings.SettingsStore
import dev.taskbundler.core.engine.EngineController
import dev.taskbundler.core.engine.LoadMarker
import dev.taskbundler.core.engine.SerialThread
import java.util.concurrent.Executor

/** What the screens share; one for the whole process. */
class AppContainer(
    val repository: FileRepository,
    /** Reads and writes files. */
    val files: SerialThread,
    /** Runs tasks on the screen's thread. */
    val screen: Executor,
    val controller: EngineController,
    val events: EventHub,
    val marker: LoadMarker,
    val settings: SettingsStore,
    val log: EventLog,
    /** Bytes that the process takes. */
    val memory: () -> Long,
    val figures: FigureBook,
) {
    val switch = ModelSwitch(this)
}
