package dev.taskbundler.core.adapter

import dev.taskbundler.core.formats.FileBytes
import dev.taskbundler.core.training.FlatAdapter
import dev.taskbundler.core.training.TrainerFacts
import java.io.File

/** The header of an adapter that is taught with a trainer that says [facts] of itself; [scaling] is alpha / rank. */
fun taughtHeader(facts: TrainerFacts, name: String, scaling: Double) =
    AdapterHeader(name, facts.layers, facts.width, facts.rank, facts.queryScale, scaling * facts.rank, null, facts.fingerprint)

/** Write the adapter file of [vector], see [FlatAdapter], whose [header] is that of [taughtHeader]. */
fun writeTaught(file: File, header: AdapterHeader, vector: FloatArray, scaling: Double) {
    val flat = FlatAdapter(header.layers, header.width, header.rank)
    writeAdapter(file, header) { (projection, factor, layer) ->
        if (factor == 'a') flat.a(vector, projection, layer, scaling) else flat.b(vector, projection, layer, header.queryScale[layer])
    }
}

/** Write to [file] what is in [adapter], under another [name]. */
fun writeRenamed(file: File, adapter: AdapterFile, name: String) = FileBytes(adapter.file).use { bytes ->
    writeAdapter(file, adapter.header.copy(name = name)) { (projection, factor, layer) ->
        if (factor == 'a') adapter.a(bytes, projection, layer) else adapter.b(bytes, projection, layer)
    }
}
