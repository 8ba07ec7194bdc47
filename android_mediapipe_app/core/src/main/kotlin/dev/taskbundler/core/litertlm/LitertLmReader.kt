package dev.taskbundler.core.litertlm

import dev.taskbundler.core.findings.FindingCode
import dev.taskbundler.core.findings.refuse
import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.formats.FlatTable
import dev.taskbundler.core.formats.FlatVector
import dev.taskbundler.core.formats.FlatbufferException
import dev.taskbundler.core.formats.readFlatbuffer
import dev.taskbundler.core.formats.rootTable
import java.io.File

internal const val MAGIC = "LITERTLM"
private const val MAJOR_VERSION = 1L

/** Where the header's flatbuffer begins; docs/CONTAINERS.md lists what stands before. */
private const val HEADER_BEGIN = 32
private const val VERSION_AT = 8L
private const val HEADER_END_AT = 24L

/** Bytes; real headers take about one kilobyte. */
private const val HEADER_LIMIT = 1L shl 20

/** Bytes: the largest page of Android devices, on which sections begin so that they can be mapped. */
private const val PAGE = 16384L

/** The largest known files have a dozen. */
private const val MOST_SECTIONS = 1 shl 10
private const val MOST_PAIRS = 1 shl 12

// Fields of litertlm_header_schema.fbs by their place in the table.
private const val ROOT_SECTIONS = 1
private const val LIST_OBJECTS = 0
private const val SECTION_PAIRS = 0
private const val SECTION_BEGIN = 1
private const val SECTION_END = 2
private const val SECTION_TYPE = 3
private const val PAIR_KEY = 0
private const val PAIR_TYPE = 1
private const val PAIR_VALUE = 2
private const val VALUE_TEXT = 0

/** The type of a value that is a text. */
private const val TEXT_VALUE = 9
private const val MODEL_TYPE = "model_type"
private const val BASE_FINGERPRINT = "base_fingerprint"

/**
 * The header of a `.litertlm` file; section data is not read.
 *
 * Throws FindingException for what is none or a damaged or deceptive one: cut short, of another major version, with a header that cannot
 * be read, sections that overlap, lie outside, are there twice or not where they could be mapped. [name] is what messages call the file.
 */
fun readLitertLm(file: File, name: String = file.name): LitertLmFile {
    val fileSize = file.length()
    val headerEnd = FileBytes(file).use { headerEnd(it, name) }
    val sections = FileBytes(file, HEADER_BEGIN.toLong(), headerEnd - HEADER_BEGIN).use { bytes ->
        readFlatbuffer({ found, error -> unreadable(name, found, error) }) { HeaderReader(rootTable(bytes)).sections() }
    }
    checkPlaces(sections, headerEnd, fileSize, name)
    checkOnce(sections, name)
    return LitertLmFile(file, sections)
}

private fun headerEnd(bytes: FileBytes, name: String): Long {
    if (bytes.size < HEADER_BEGIN) truncated(name, "${bytes.size} bytes, less than the fixed part of a header")
    if (String(bytes.bytes(0, MAGIC.length), Charsets.ISO_8859_1) != MAGIC) {
        refuse(FindingCode.NOT_A_KNOWN_FILE, "$name does not begin with $MAGIC; check that this is the right file")
    }
    val version = bytes.u32(VERSION_AT)
    if (version != MAJOR_VERSION) {
        refuse(
            FindingCode.CONTAINER_VERSION_UNSUPPORTED,
            "$name is of version $version of its format, expected $MAJOR_VERSION; use a release of this app made for it, or build the file again",
            "version" to version,
        )
    }
    val end = bytes.i64(HEADER_END_AT)
    if (end <= HEADER_BEGIN || end > HEADER_BEGIN + HEADER_LIMIT) unreadable(name, "is said to end at byte $end")
    if (end > bytes.size) truncated(name, "${bytes.size} bytes, and its header alone is said to end at byte $end")
    return end
}

private class HeaderReader(private val root: FlatTable) {
    private var pairsLeft = MOST_PAIRS

    fun sections(): List<LitertLmSection> {
        val listed = (root.table(ROOT_SECTIONS) ?: throw FlatbufferException("no list of sections")).tables(LIST_OBJECTS)
        if (listed.size > MOST_SECTIONS) throw FlatbufferException("${listed.size} sections")
        return (0 until listed.size).map { section(listed.table(it)) }
    }

    private fun section(table: FlatTable): LitertLmSection {
        val begin = table.i64(SECTION_BEGIN)
        val type = table.byte(SECTION_TYPE)
        val pairs = texts(table.tables(SECTION_PAIRS))
        // Negative numbers are those that no file could be as long as.
        return LitertLmSection(
            type,
            begin,
            table.i64(SECTION_END) - begin,
            pairs[MODEL_TYPE].takeIf {
                type == TFLITE_MODEL
            },
            pairs[BASE_FINGERPRINT],
        )
    }

    /** The pairs that matter here; other values may be of any type and length. */
    private fun texts(list: FlatVector): Map<String, String> {
        pairsLeft -= list.size
        if (pairsLeft < 0) throw FlatbufferException("more than $MOST_PAIRS key-value pairs")
        val texts = HashMap<String, String>()
        for (index in 0 until list.size) {
            val pair = list.table(index)
            val key = pair.text(PAIR_KEY)
            if ((key == MODEL_TYPE || key == BASE_FINGERPRINT) && pair.byte(PAIR_TYPE) == TEXT_VALUE) {
                pair.table(PAIR_VALUE)?.text(VALUE_TEXT)?.let { texts[key] = it }
            }
        }
        return texts
    }
}

private fun checkPlaces(sections: List<LitertLmSection>, headerEnd: Long, fileSize: Long, name: String) {
    var end = headerEnd
    var last = "the header"
    for (section in sections.sortedBy { it.offset }) {
        // Compared so that no sum can overflow.
        if (section.offset < 0 || section.size < 0 || section.offset > fileSize || section.size > fileSize - section.offset) {
            refuse(
                FindingCode.SECTION_OUTSIDE_FILE,
                "${section.name} is said to take ${section.size} bytes from ${section.offset} on in $name, which has $fileSize; " +
                    "copy the file again or build it again",
                "section" to section.name,
            )
        }
        if (section.offset < end) {
            refuse(
                FindingCode.SECTION_OVERLAP,
                "${section.name} in $name begins at byte ${section.offset}, inside $last, which ends at $end; build the file again",
                "section" to section.name,
            )
        }
        if (section.offset % PAGE != 0L) {
            refuse(
                FindingCode.SECTION_MISALIGNED,
                "${section.name} in $name begins at byte ${section.offset}, no multiple of $PAGE, so a phone may not map it; build the file again",
                "section" to section.name,
            )
        }
        end = section.offset + section.size
        last = section.name
    }
}

private fun checkOnce(sections: List<LitertLmSection>, name: String) {
    // Of sections that this app does not know there may be any number.
    val known = listOf(TFLITE_MODEL, SENTENCEPIECE, LLM_METADATA, HF_TOKENIZER)
    val twice = sections.filter { it.type in known }.groupBy { it.name }.values.find { it.size > 1 } ?: return
    refuse(
        FindingCode.SECTION_DUPLICATED,
        "$name has ${twice.size} sections ${twice[0].name}, and which is read depends on the engine's release; build the file again",
        "section" to twice[0].name,
    )
}

private fun truncated(name: String, found: String): Nothing =
    refuse(FindingCode.FILE_TRUNCATED, "$name has $found; it may be cut short, so copy or download it again")

private fun unreadable(name: String, found: String, cause: Exception? = null): Nothing = refuse(
    FindingCode.CONTAINER_HEADER_UNREADABLE,
    "the header of $name $found; copy the file again or build it again",
    "found" to found,
    cause = cause,
)
