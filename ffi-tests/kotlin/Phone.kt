package vigie.tests

import java.io.File
import java.util.concurrent.CopyOnWriteArrayList
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.withTimeoutOrNull
import vigie.HttpTransport
import vigie.Vigie
import vigie.ffi.Advertisement
import vigie.ffi.Config
import vigie.ffi.Event
import vigie.ffi.KeyVault
import vigie.ffi.ManualClock
import vigie.ffi.ScanResult
import vigie.ffi.VigieException
import vigie.ffi.liveObjects

/** A phone with the app on it: its tracer, what the tracer was given, and all events that it told. */
class Phone(private val scope: CoroutineScope, val folder: File, private val servers: String?, nowMs: Long) {
    val clock = ManualClock(nowMs)
    val events = CopyOnWriteArrayList<Event>()
    var radio = FakeRadio()
        private set
    lateinit var vigie: Vigie
        private set
    private var listener: Job? = null

    /** Whether tracing was started. */
    var isRunning = false

    /** The report that was made last. */
    var report: Long? = null

    /** What the last call that failed has said. */
    var failure: VigieException? = null
        private set

    suspend fun open(vault: KeyVault?) {
        radio = FakeRadio()
        val config = Config(File(folder, "store").path, File(folder, "downloads").path, servers)
        vigie = Vigie.open(config, radio, servers?.let { HttpTransport() }, vault, clock)
        listener = scope.launch { vigie.events.collect(events::add) }
    }

    suspend fun close() {
        isRunning = false
        vigie.shutDown()
        // Ends by itself then.
        listener?.join()
        vigie.close()
    }

    /** Makes a call; gives what it failed with. */
    suspend fun attempt(call: suspend Vigie.() -> Unit): VigieException? = try {
        vigie.call()
        null
    } catch (error: VigieException) {
        error.also { failure = it }
    }

    fun advance(ms: Long) {
        clock.advance(ms.toULong())
        vigie.wake()
    }

    /** What another device sends is heard so often, a second apart. */
    fun hears(others: List<Advertisement>, times: Int) {
        val now = clock.read().nowMs
        val results = others.flatMap { other -> List(times) { ScanResult(other.serviceData, -55, now + 1_000L * it, null) } }
        radio.hand { it.heard(results) }
    }
}

/** Waits until something is so. */
suspend fun until(what: String, seconds: Long, isSo: suspend () -> Boolean) {
    withTimeoutOrNull(seconds * 1_000) {
        while (!isSo()) delay(5)
        true
    } ?: throw AssertionError("not within $seconds s: $what")
}

/** Nothing of the library is held by anybody. */
suspend fun nothingIsHeld() = until("nothing of the library is held any more: ${liveObjects()} objects are", 10) {
    System.gc()
    liveObjects() == 0uL
}
