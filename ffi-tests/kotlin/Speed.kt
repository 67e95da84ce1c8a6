/** What the boundary costs: printed, for tests/kotlin.rs, which does the same work in Rust. */
package vigie.tests

import java.io.File
import java.nio.ByteBuffer
import kotlin.io.path.createTempDirectory
import kotlinx.coroutines.runBlocking
import vigie.Vigie
import vigie.ffi.Config
import vigie.ffi.ManualClock
import vigie.ffi.ScanResult

private const val RESULTS = 100_000
private const val BATCH = 100
private const val ROUNDS = 9

fun main() = runBlocking {
    val starts = List(ROUNDS) { inTracer { vigie, radio -> startMs(vigie, radio) } }
    println("start to first advertisement, ms: ${starts.median()} (the first one: ${starts[0]})")
    val results = List(ROUNDS) {
        inTracer { vigie, radio ->
            vigie.start()
            heardMicroseconds(radio)
        }
    }
    println("scan result, from Kotlin, us: ${results.median()} (the first round: ${results[0]})")
}

/** From the call to the moment at which the radio is told what to send. */
private suspend fun startMs(vigie: Vigie, radio: FakeRadio): Double {
    val began = System.nanoTime()
    vigie.start()
    return (radio.advertisedAt - began) / 1e6
}

/** What one result takes of those that are handed in, the making of its record included. */
private fun heardMicroseconds(radio: FakeRadio): Double {
    val frames = List(1_000) { ByteBuffer.allocate(20).putInt(it).array() }
    var took = 0L
    radio.hand { sink ->
        val began = System.nanoTime()
        for (batch in 0 until RESULTS / BATCH) {
            sink.heard(List(BATCH) { ScanResult(frames[(batch * BATCH + it) % frames.size], -60, NOW_MS, null) })
        }
        took = System.nanoTime() - began
    }
    return took / 1e3 / RESULTS
}

private suspend fun <T> inTracer(work: suspend (Vigie, FakeRadio) -> T): T {
    val folder = createTempDirectory(File(System.getenv("VIGIE_FOLDER")).toPath(), "speed").toFile()
    val radio = FakeRadio()
    val result = ManualClock(NOW_MS).use { clock ->
        Vigie.open(Config(File(folder, "store").path, File(folder, "downloads").path), radio, clock = clock).use { work(it, radio) }
    }
    folder.deleteRecursively()
    return result
}

private fun List<Double>.median() = sorted()[size / 2]
