/** What ends early, and what is kept of it. */
package vigie.tests

import java.io.File
import java.io.RandomAccessFile
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import kotlin.random.Random
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import vigie.Vigie
import vigie.ffi.Cancel
import vigie.ffi.Event
import vigie.ffi.FileStatus
import vigie.ffi.HttpRequest
import vigie.ffi.HttpResponse
import vigie.ffi.Input
import vigie.ffi.ManualClock
import vigie.ffi.ReportDetails
import vigie.ffi.ReportState
import vigie.ffi.Tracing
import vigie.ffi.Transport
import vigie.ffi.TransportException
import vigie.ffi.TransportProblem
import vigie.ffi.VigieException
import vigie.ffi.liveObjects

/** How often tracing is started and stopped while collections come and go. */
private const val TURNS = 100

val CANCELLATIONS = listOf<Test>(
    "a check that is cancelled leaves what it has not come to unfinished" to {
        open { vigie, _ ->
            Cancel().use { cancel ->
                cancel.cancel()
                val report = vigie.check(List(1_000) { "file-$it" }, cancel)
                same(setOf(FileStatus.Unfinished), report.files.map { it.status }.toSet())
            }
            same(setOf(FileStatus.Refused), vigie.check(List(1_000) { "file-$it" }).files.map { it.status }.toSet())
        }
    },
    "a check ends with its coroutine, in the library too" to {
        open { vigie, _ ->
            val before = liveObjects()
            // Each keeps whoever reads it waiting until somebody writes.
            val pipes = List(3) { File(folder, "pipe-$it") }
            same(0, ProcessBuilder(listOf("mkfifo") + pipes.map { it.path }).start().waitFor())
            coroutineScope {
                val check = launch { vigie.check(pipes.map { it.path }) }
                pipes[0].outputStream().close()
                check.cancelAndJoin()
            }
            // It may be at this one when it is cancelled, and goes on there; it does not come to the next one.
            RandomAccessFile(pipes[1], "rw").use {
                until("the check has ended", 10) {
                    System.gc()
                    liveObjects() == before
                }
            }
        }
    },
    "no event is lost, and none comes twice, however often a collection is cancelled" to {
        open(FakeRadio()) { vigie, _ ->
            val found = mutableListOf<Tracing>()
            val random = Random(1)
            coroutineScope {
                val app = launch {
                    repeat(TURNS) {
                        vigie.start()
                        vigie.stop()
                    }
                }
                while (found.size < 2 * TURNS) {
                    val collection = launch { vigie.events.collect { if (it is Event.TracingChanged) found += it.tracing } }
                    delay(random.nextLong(3))
                    collection.cancelAndJoin()
                }
                app.join()
            }
            same(List(2 * TURNS) { if (it % 2 == 0) Tracing.RUNNING else Tracing.STOPPED }, found)
        }
    },
    "an event whose handling was cancelled comes again, and one that was enough does not" to {
        open(FakeRadio()) { vigie, _ ->
            val tracing = vigie.events.filterIsInstance<Event.TracingChanged>().map { it.tracing }
            vigie.start()
            coroutineScope {
                val isHandling = CompletableDeferred<Unit>()
                val collection = launch {
                    tracing.collect {
                        isHandling.complete(Unit)
                        awaitCancellation()
                    }
                }
                isHandling.await()
                collection.cancelAndJoin()
            }
            same(Tracing.RUNNING, tracing.first())
            vigie.stop()
            same(Tracing.STOPPED, tracing.first())
        }
    },
    "a second collection waits for the first, and both end with the tracer" to {
        open(FakeRadio()) { vigie, _ ->
            coroutineScope {
                val first = launch { vigie.events.filterIsInstance<Event.TracingChanged>().take(2).toList() }
                delay(50)
                val second = CompletableDeferred<List<Event>>()
                launch { second.complete(vigie.events.filterIsInstance<Event.TracingChanged>().toList()) }
                vigie.start()
                vigie.stop()
                first.join()
                vigie.start()
                delay(50)
                vigie.shutDown()
                same(listOf<Event>(Event.TracingChanged(Tracing.RUNNING)), second.await())
            }
        }
    },
    "a report that is cancelled was made whole, or was not made" to {
        open(FakeRadio(), clientJson()) { vigie, _ ->
            vigie.start()
            val random = Random(2)
            var made = 0
            repeat(60) {
                coroutineScope {
                    val report = launch {
                        try {
                            vigie.report("123456", ReportDetails())
                        } catch (error: VigieException.InputInvalid) {
                            // An earlier one, made after its cancellation, still stands.
                            same(true, error.input is Input.Report)
                        }
                    }
                    delay(random.nextLong(4))
                    report.cancelAndJoin()
                }
                val report = vigie.reports().singleOrNull { it.state !is ReportState.Refused }
                if (report != null) {
                    made++
                    same(true, report.state is ReportState.WaitingForNetwork || report.state is ReportState.WaitingUntil)
                    same(true, vigie.withdrawReport(report.id))
                }
            }
            println("  $made of 60 were made")
        }
    },
    "a sync ends with its coroutine, and what is under way with the tracer" to {
        val transport = SlowTransport()
        ManualClock(NOW_MS).use { clock ->
            Vigie.open(config(clientJson()), transport = transport, clock = clock).use { vigie ->
                coroutineScope {
                    val sync = launch { vigie.sync() }
                    transport.isAsked.await(10, TimeUnit.SECONDS)
                    sync.cancelAndJoin()
                }
                same(1L, transport.isCancelled.count)
                vigie.shutDown()
                same(true, transport.isCancelled.await(10, TimeUnit.SECONDS))
            }
            // What was under way looks at the clock once more.
            until("the sync has ended", 10) {
                System.gc()
                liveObjects() == 1uL
            }
        }
    },
)

/** There is none. */
object NoNetwork : Transport {
    override fun exchange(request: HttpRequest): HttpResponse = throw TransportException.Problem(TransportProblem.OFFLINE)

    override fun cancel() = Unit
}

/** Answers nothing until it is cancelled. */
private class SlowTransport : Transport {
    val isAsked = CountDownLatch(1)
    val isCancelled = CountDownLatch(1)

    override fun exchange(request: HttpRequest): HttpResponse {
        isAsked.countDown()
        isCancelled.await()
        throw TransportException.Problem(TransportProblem.FAILED)
    }

    override fun cancel() = isCancelled.countDown()
}
