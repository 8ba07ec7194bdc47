package dev.taskbundler.app.library

import dev.taskbundler.app.state.AppContainer
import dev.taskbundler.app.state.Contents
import dev.taskbundler.app.state.Notice
import dev.taskbundler.app.write.WritePresenter
import dev.taskbundler.core.catalogue.ImportSource
import dev.taskbundler.core.catalogue.Sha256Sums
import dev.taskbundler.core.catalogue.Stored
import dev.taskbundler.core.findings.FindingException
import dev.taskbundler.core.formats.CancelSignal
import dev.taskbundler.core.formats.Progress
import java.util.concurrent.CancellationException

/** Everything that the screen of bundles and adapters shows. */
data class LibraryModel(val contents: Contents = Contents(), val notice: Notice? = null, val isImporting: Boolean = false)

/** The screen of a [LibraryPresenter]. */
fun interface LibraryScreen {
    fun show(model: LibraryModel)
}

/** The screen of bundles and adapters without its views. Lives as long as the process; for the screen's thread. */
class LibraryPresenter(private val container: AppContainer, private val writing: WritePresenter) {
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

    /**
     * Copy files that were picked, or opened with this app, one after the other until one is wrong.
     *
     * If SHA256SUMS is among them, the others must have the hashes it lists; a build's manifest.json is for people.
     */
    fun import(sources: List<ImportSource>) {
        if (model.isImporting) return
        cancel = CancelSignal()
        val signal = cancel
        show(model.copy(isImporting = true))
        container.files.post {
            val notice = outcome {
                val sums = sources.find { it.name == SUMS }?.let { Sha256Sums.parse(beginning(it)) }
                var last: Notice? = null
                for (source in sources.filter { it.name != SUMS && it.name != MANIFEST }) {
                    last = Notice.Imported(container.repository.import(source, sums, telling(source.name), signal))
                }
                last
            }
            container.screen.execute {
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
        container.files.post {
            val notice = outcome {
                container.repository.delete(item)
                Notice.Deleted(item.name)
            }
            container.screen.execute {
                refresh(notice)
                writing.reload()
            }
        }
    }

    private fun telling(name: String): Progress {
        var last: Int? = -1
        return Progress { done, total ->
            val percent = if (total == null || total <= 0) null else (done * 100 / total).toInt()
            if (percent != last) container.screen.execute { if (model.isImporting) show(model.copy(notice = Notice.Importing(name, percent))) }
            last = percent
        }
    }

    /** A list of hashes is short; of anything else that bears its name, no more than that is read. */
    private fun beginning(source: ImportSource): String = source.open().use { input ->
        val bytes = ByteArray(MOST_BYTES_OF_SUMS)
        var count = 0
        while (count < bytes.size) {
            val read = input.read(bytes, count, bytes.size - count)
            if (read < 0) break
            count += read
        }
        String(bytes, 0, count)
    }

    private fun refresh(notice: Notice?) = container.files.post {
        var now: Contents? = null
        val failure = outcome {
            now = container.repository.contents()
            null
        }
        container.screen.execute { show(model.copy(contents = now ?: model.contents, notice = failure ?: notice)) }
    }

    private fun outcome(work: () -> Notice?): Notice? = try {
        work()
    } catch (_: CancellationException) {
        Notice.Cancelled
    } catch (failure: FindingException) {
        container.log.add("found ${failure.finding.code.id}: ${failure.message}")
        Notice.Found(failure.finding)
    } catch (failure: Exception) {
        // A provider of documents is another app's code and throws what it likes.
        container.log.add("$failure")
        Notice.Unexpected(failure.toString())
    }

    private fun show(next: LibraryModel) {
        model = next
        screen?.show(next)
    }

    private companion object {
        const val SUMS = "SHA256SUMS"
        const val MANIFEST = "manifest.json"
        const val MOST_BYTES_OF_SUMS = 1 shl 16
    }
}
