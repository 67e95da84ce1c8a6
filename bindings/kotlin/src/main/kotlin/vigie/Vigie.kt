package vigie

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.isActive
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import vigie.ffi.Cancel
import vigie.ffi.CheckReport
import vigie.ffi.Clock
import vigie.ffi.Config
import vigie.ffi.Event
import vigie.ffi.KeyVault
import vigie.ffi.Radio
import vigie.ffi.SyncReport
import vigie.ffi.Tracer
import vigie.ffi.TracerInterface
import vigie.ffi.Transport

/**
 * A contact tracer: all that [Tracer] does, with its events as a [Flow], and calls that end with the coroutine that makes them.
 *
 * It works in the background from [open] to [close]. Calls fail with a [vigie.ffi.VigieException], which says what the app can do.
 */
class Vigie private constructor(private val tracer: Tracer) : TracerInterface by tracer, AutoCloseable {
    /** One collection at a time: an event is handed out once. */
    private val collection = Mutex()

    /** Was taken, but not yet handled. */
    private var taken: Event? = null

    /**
     * What an app may want to show or to act upon, from the moment of opening on. Ends when the tracer is shut down.
     *
     * No event is lost where a collection ends: what nobody has taken yet is for the next one, and an event that was being handled when its collection was
     * cancelled comes again. A second collection waits for the end of the first.
     */
    val events: Flow<Event> = flow {
        collection.withLock {
            Cancel().use { cancel ->
                coroutineScope {
                    // At once, so that it is there to be cancelled.
                    val end = launch(start = CoroutineStart.UNDISPATCHED) {
                        try { awaitCancellation() } finally { cancel.cancel() }
                    }
                    while (true) {
                        // Ended by `cancel` alone: what is taken while the coroutine is cancelled would be lost.
                        val event = taken ?: withContext(NonCancellable) { tracer.nextEvent(cancel).also { taken = it } } ?: break
                        try {
                            emit(event)
                        } catch (failure: Throwable) {
                            // Whoever has seen enough has handled it.
                            if (currentCoroutineContext().isActive) taken = null
                            throw failure
                        }
                        taken = null
                    }
                    end.cancel()
                }
            }
        }
    }

    /** As [Tracer.check]; where no `cancel` is given, it ends with its coroutine, and the next check goes on from there. */
    override suspend fun check(files: List<String>, cancel: Cancel?): CheckReport =
        if (cancel == null) ended { tracer.check(files, it) } else tracer.check(files, cancel)

    /** As [Tracer.sync]; where no `cancel` is given, it ends with its coroutine, after the request that is under way. */
    override suspend fun sync(cancel: Cancel?, isAwaited: Boolean): SyncReport =
        if (cancel == null) ended { tracer.sync(it, isAwaited) } else tracer.sync(cancel, isAwaited)

    /**
     * Ends everything, as [shutDown] does, and lets go of the library. Waits for the radio to fall silent, so not for the main thread: there
     * [shutDown] comes first, and this waits for nothing. Later calls throw [IllegalStateException]. Twice is no error.
     */
    override fun close() {
        if (tracer.uniffiIsDestroyed) return
        runBlocking { tracer.shutDown() }
        tracer.destroy()
    }

    companion object {
        /** As [Tracer.open]. */
        suspend fun open(
            config: Config,
            radio: Radio? = null,
            transport: Transport? = null,
            vault: KeyVault? = null,
            clock: Clock? = null,
        ): Vigie = Vigie(Tracer.open(config, radio, transport, vault, clock))
    }
}

/** A call that is told when its coroutine is cancelled. */
private suspend fun <T> ended(call: suspend (Cancel) -> T): T = Cancel().use { cancel ->
    try {
        call(cancel)
    } catch (end: CancellationException) {
        cancel.cancel()
        throw end
    }
}
