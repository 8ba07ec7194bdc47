package dev.taskbundler.app.library

import dev.taskbundler.app.model.Contents
import dev.taskbundler.app.model.Notice
import dev.taskbundler.app.model.Workshop
import dev.taskbundler.app.write.WritePresenter
import dev.taskbundler.core.catalogue.ImportSource
import dev.taskbundler.core.catalogue.Stored
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.progress.CancelSignal
import dev.taskbundler.core.progress.Progress
import java.util.concurrent.CancellationException

/** Everything that the screen of bundles and adapters shows. */
data class LibraryModel(val contents: Contents = Contents(), val notice: Notice? = null, val isImporting: Boolean = false)

/** The screen of a [LibraryPresenter]. */
fun interface LibraryScreen {
    fun show(model: LibraryModel)
}

/** The screen of bundles and adapters without its views. Lives as long as the process; for the screen's thread. */
class LibraryPresenter(private val workshop: Workshop, private val writing: WritePresenter) {
    private var screen: LibraryScreen? = null
    private var model = LibraryModel()
    private var cancel = CancelSignal()

    fun attach(screen: LibraryScreen) {
        this.screen = screen
        screen.show(model)
        refresh(model.notice)
    }

    fun detach(screen: LibraryScreen) {
        if (this.screen === screen) this.screen = null
    }

    /** Copy a file that was picked, or opened with this app. One at a time. */
    fun import(source: ImportSource) {
        if (model.isImporting) return
        cancel = CancelSignal()
        val signal = cancel
        show(model.copy(isImporting = true, notice = Notice.Importing(source.name, null)))
        workshop.files.post {
            var last = -1
            val progress = Progress { done, total ->
                val percent = if (total == null || total <= 0) null else (done * 100 / total).toInt()
                if (percent != null && percent != last) {
                    last = percent
                    workshop.screen.execute { if (model.isImporting) show(model.copy(notice = Notice.Importing(source.name, percent))) }
                }
            }
            val notice = outcome { Notice.Imported(workshop.shelf.import(source, progress, signal)) }
            workshop.screen.execute {
                model = model.copy(isImporting = false)
                refresh(notice)
                writing.reload()
            }
        }
    }

    fun cancelImport() = cancel.cancel()

    /** Delete [item] and, if it is a bundle or an adapter, the merged copies made of it. */
    fun delete(item: Stored) {
        writing.release(item)
        workshop.files.post {
            val notice = outcome {
                workshop.shelf.delete(item)
                Notice.Deleted(item.name)
            }
            workshop.screen.execute {
                refresh(notice)
                writing.reload()
            }
        }
    }

    private fun refresh(notice: Notice?) = workshop.files.post {
        var now: Contents? = null
        val failure = outcome {
            now = workshop.shelf.contents()
            null
        }
        workshop.screen.execute { show(model.copy(contents = now ?: model.contents, notice = failure ?: notice)) }
    }

    private fun outcome(work: () -> Notice?): Notice? = try {
        work()
    } catch (_: CancellationException) {
        Notice.Cancelled
    } catch (failure: FindingException) {
        workshop.log.add("found ${failure.finding.code.id}: ${failure.message}")
        Notice.Found(failure.finding)
    } catch (failure: Exception) {
        // A provider of documents is another app's code and throws what it likes.
        workshop.log.add("$failure")
        Notice.Unexpected(failure.toString())
    }

    private fun show(next: LibraryModel) {
        model = next
        screen?.show(next)
    }
}
