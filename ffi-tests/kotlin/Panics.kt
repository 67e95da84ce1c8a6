/** What an app sees where something throws that may not. */
package vigie.tests

import kotlinx.coroutines.flow.first
import vigie.Vigie
import vigie.ffi.Clock
import vigie.ffi.Event
import vigie.ffi.HttpRequest
import vigie.ffi.HttpResponse
import vigie.ffi.InternalException
import vigie.ffi.KeyVault
import vigie.ffi.ManualClock
import vigie.ffi.RadioProblem
import vigie.ffi.Task
import vigie.ffi.Transport
import vigie.ffi.VigieException

/** A clock that can break. */
private class FragileClock(private val clock: ManualClock) : Clock {
    @Volatile
    var isBroken = false

    override fun read() = if (isBroken) error("broken") else clock.read()
}

val PANICS = listOf<Test>(
    "a panic in a call is an exception, and the next call works" to {
        ManualClock(NOW_MS).use { manual ->
            val clock = FragileClock(manual)
            Vigie.open(config(), FakeRadio(), clock = clock).use { vigie ->
                clock.isBroken = true
                failure<InternalException> { vigie.start() }
                clock.isBroken = false
                vigie.start()
                same(true, vigie.status().isSending)
            }
            clock.isBroken = true
            failure<InternalException> { Vigie.open(config(), FakeRadio(), clock = clock) }
        }
    },
    "a panic in the background is told, and tracing goes on" to {
        ManualClock(NOW_MS).use { manual ->
            val (radio, clock) = Pair(FakeRadio(), FragileClock(manual))
            Vigie.open(config(), radio, clock = clock).use { vigie ->
                vigie.start()
                val (scans, sent) = Pair(radio.scans, radio.advertisement)
                clock.isBroken = true
                vigie.wake()
                same(Event.Restarted(Task.TRACING), vigie.events.first { it is Event.Restarted })
                // Nobody would change the identifier meanwhile.
                same(null, radio.advertisement)
                clock.isBroken = false
                manual.advance(300_000u)
                until("it sends and scans again", 10) {
                    vigie.wake()
                    radio.scans > scans && radio.advertisement.let { it != null && it != sent }
                }
                same(true, vigie.status().restarts > 0u)
            }
        }
    },
    "a radio that throws what it may not has failed" to {
        val radio = FakeRadio().apply { surprise = IllegalStateException("the system's service has died") }
        open(radio) { vigie, clock ->
            failure<VigieException.AdapterUnavailable> { vigie.start() }
            same(RadioProblem.Failed(0), vigie.status().radioProblem)
            radio.surprise = null
            clock.advance(6_000u)
            vigie.wake()
            until("it is tried again", 10) { vigie.status().radioProblem == null && radio.advertisement != null }
        }
    },
    "a radio that throws where nothing can fail has the task restarted" to {
        val radio = FakeRadio()
        open(radio) { vigie, clock ->
            vigie.start()
            radio.surpriseAtStop = IllegalStateException("the system's service has died")
            clock.advance(5_000u)
            vigie.wake()
            vigie.events.first { it is Event.Restarted }
            radio.surpriseAtStop = null
            clock.advance(300_000u)
            val scans = radio.scans
            until("it scans again", 10) {
                vigie.wake()
                radio.scans > scans
            }
        }
    },
    "a vault that throws what it may not is tried again" to {
        val vault = object : KeyVault {
            override fun wrap(dataKey: ByteArray): ByteArray = error("the system's service has died")

            override fun unwrap(wrapped: ByteArray): ByteArray = error("the system's service has died")
        }
        failure<VigieException.RetryAfter> { open(vault = vault) { _, _ -> } }
    },
    "a transport that throws what it may not has not reached the server" to {
        ManualClock(NOW_MS).use { clock ->
            Vigie.open(config(clientJson()), transport = BrokenTransport, clock = clock).use {
                failure<VigieException.RetryAfter> { it.sync() }
                same(0u, it.status().restarts)
            }
        }
    },
)

private object BrokenTransport : Transport {
    override fun exchange(request: HttpRequest): HttpResponse = error("the system's service has died")

    override fun cancel() = Unit
}
