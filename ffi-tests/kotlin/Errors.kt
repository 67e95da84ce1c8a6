/** What an app sees where something fails: one test for each error. The others are in Panics.kt, Cancellations.kt, Http.kt and Data.kt. */
package vigie.tests

import java.io.File
import java.io.RandomAccessFile
import kotlin.io.path.createTempDirectory
import kotlin.random.Random
import kotlin.system.exitProcess
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import vigie.Vigie
import vigie.ffi.Config
import vigie.ffi.Event
import vigie.ffi.Field
import vigie.ffi.Input
import vigie.ffi.KeyVault
import vigie.ffi.Language
import vigie.ffi.ManualClock
import vigie.ffi.Permission
import vigie.ffi.RadioProblem
import vigie.ffi.ReportDetails
import vigie.ffi.ScanResult
import vigie.ffi.SignUpForm
import vigie.ffi.StorageProblem
import vigie.ffi.Tracing
import vigie.ffi.VaultProblem
import vigie.ffi.VigieException
import vigie.ffi.groupRecoveryCode
import vigie.ffi.newRecoveryCode
import vigie.ffi.rollingProximityIdentifier

/** 22 October 2020, 18:00 UTC. */
const val NOW_MS = 1_603_389_600_000L

typealias Test = Pair<String, suspend Place.() -> Unit>

fun main(args: Array<String>) = runBlocking(Dispatchers.Default) {
    var failed = 0
    val tests = ERRORS + PANICS + CANCELLATIONS + HTTP + DATA
    for ((name, test) in tests.filter { args.isEmpty() || args[0] in it.first }) {
        try {
            withTimeout(60_000) {
                Place().test()
                nothingIsHeld()
            }
            println("ok $name")
        } catch (failure: Throwable) {
            failed++
            println("FAILED $name: $failure")
            failure.printStackTrace(System.out)
        }
    }
    println("${tests.size} tests, $failed failed")
    if (failed > 0) exitProcess(1)
}

/** A folder of its own for a test, and what it opens there. */
class Place {
    val folder: File = createTempDirectory(File(System.getenv("VIGIE_FOLDER")).toPath(), "test").toFile()
    val store = File(folder, "store")

    fun config(servers: String? = null, exposure: String? = null) =
        Config(store.path, File(folder, "downloads").path, servers, exposure)

    /** Opens a tracer, does something with it, and closes it. */
    suspend fun <T> open(
        radio: FakeRadio? = null,
        servers: String? = null,
        vault: KeyVault? = null,
        work: suspend (Vigie, ManualClock) -> T,
    ): T = ManualClock(NOW_MS).use { clock ->
        Vigie.open(config(servers), radio, servers?.let { NoNetwork }, vault, clock).use { work(it, clock) }
    }
}

/** Fails where the work does not fail in this way. */
suspend inline fun <reified E : Throwable> failure(work: suspend () -> Unit): E {
    try {
        work()
    } catch (failure: Throwable) {
        if (failure is E) return failure
        throw AssertionError("not a ${E::class.simpleName}", failure)
    }
    throw AssertionError("no ${E::class.simpleName}")
}

fun same(expected: Any?, found: Any?) {
    if (expected != found) throw AssertionError("expected $expected, found $found")
}

private suspend fun input(expected: Input, work: suspend () -> Unit) = same(expected, failure<VigieException.InputInvalid>(work).input)

private suspend fun storage(expected: StorageProblem, work: suspend () -> Unit) =
    same(expected, failure<VigieException.Storage>(work).problem)

val ERRORS = listOf<Test>(
    "a permission for Bluetooth is asked for, and tracing goes on with it" to {
        val radio = FakeRadio().apply { fail(RadioProblem.PermissionNeeded) }
        open(radio) { vigie, clock ->
            same(Permission.BLUETOOTH, failure<VigieException.PermissionNeeded> { vigie.start() }.permission)
            same(Pair<Any, Any?>(Tracing.RUNNING, RadioProblem.PermissionNeeded), vigie.status().run { Pair(tracing, radioProblem) })
            radio.work()
            clock.advance(6_000u)
            vigie.wake()
            until("it traces", 10) { radio.advertisement != null && vigie.status().radioProblem == null }
        }
    },
    "a folder that may not be written to" to {
        // Where nobody may write on Linux, not even root.
        val config = Config("/sys/vigie-store", File(folder, "downloads").path)
        same(Permission.STORAGE, failure<VigieException.PermissionNeeded> { Vigie.open(config) }.permission)
    },
    "an adapter that is off, cannot, or fails" to {
        for (problem in listOf(RadioProblem.PoweredOff, RadioProblem.Unsupported, RadioProblem.Failed(7))) {
            val radio = FakeRadio().apply { fail(problem) }
            open(radio) { vigie, _ ->
                failure<VigieException.AdapterUnavailable> { vigie.start() }
                same(problem, vigie.status().radioProblem)
                same(problem, (vigie.events.first { it is Event.RadioFailed } as Event.RadioFailed).problem)
            }
        }
    },
    "a store that is in use, and a vault that is locked, are to be tried again" to {
        open { _, _ -> same(5uL, failure<VigieException.RetryAfter> { Vigie.open(config()) }.seconds) }
        val vault = MemoryVault()
        open(vault = vault) { _, _ -> }
        vault.problem = VaultProblem.LOCKED
        same(60uL, failure<VigieException.RetryAfter> { open(vault = vault) { _, _ -> } }.seconds)
        vault.problem = null
        open(vault = vault) { _, _ -> }
    },
    "a configuration that is wrong names what is" to {
        val servers = clientJson()
        input(Input.Servers) { Vigie.open(config(servers = "{}")) }
        // A public key in it that is none, too.
        input(Input.Servers) { Vigie.open(config(servers = servers.replace(Regex("(?<=-----BEGIN PUBLIC KEY-----..).{20}"), ""))) }
        input(Input.Exposure) { Vigie.open(config(exposure = "[1]")) }
        store.writeText("This is not a store, but something else that somebody keeps here.")
        input(Input.StorePath) { Vigie.open(config()) }
    },
    "a store that is sealed does not open without a vault" to {
        open(vault = MemoryVault()) { _, _ -> }
        input(Input.KeyVault) { open { _, _ -> } }
    },
    "codes with a typing mistake, and bytes of another length" to {
        open(FakeRadio(), clientJson()) { vigie, _ ->
            vigie.start()
            input(Input.VerificationCode) { vigie.report("1234", ReportDetails()) }
            input(Input.RecoveryCode) { groupRecoveryCode("1234") }
            input(Input.RecoveryCode) { vigie.recoverSignUp("1234") }
            input(Input.Bytes) { rollingProximityIdentifier(ByteArray(15), 2_642_976u) }
            input(Input.Bytes) { vigie.check(List(10_001) { "file" }) }
            input(Input.Alert) { vigie.acknowledgeAlert(ByteArray(3)) }
        }
    },
    "what a peer has written and is none" to {
        val radio = FakeRadio()
        open(radio) { _, _ -> radio.hand { sink -> runBlocking { input(Input.Bytes) { sink.wrote(ByteArray(3), NOW_MS) } } } }
    },
    "a report while another one is under way" to {
        open(FakeRadio(), clientJson()) { vigie, _ ->
            vigie.start()
            vigie.report("123456", ReportDetails())
            input(Input.Report) { vigie.report("123457", ReportDetails()) }
        }
    },
    "servers that are not there" to {
        open { vigie, _ ->
            input(Input.Servers) { vigie.sync() }
            input(Input.Servers) { vigie.signUp(FORM, newRecoveryCode()) }
        }
    },
    "a form with a wrong field names the field" to {
        open(servers = clientJson()) { vigie, _ ->
            val wrong = mapOf(
                Field.NATIONAL_NUMBER to FORM.copy(nationalNumber = "1"),
                Field.NAME to FORM.copy(name = ""),
                Field.BIRTH_YEAR to FORM.copy(birthYear = 1700u),
                Field.CONTACT to FORM.copy(contact = "somewhere"),
                Field.CONSENT to FORM.copy(consent = false),
            )
            same(Field.entries.toSet() - Field.OTHER, wrong.keys)
            for ((field, form) in wrong) input(Input.Form(field)) { vigie.signUp(form, newRecoveryCode()) }
            same(0, vigie.signUps().size)
        }
    },
    "sign-ups that are not there, and codes of others" to {
        open(servers = clientJson()) { vigie, _ ->
            input(Input.SignUp) { vigie.withdrawSignUp(99) }
            val code = newRecoveryCode()
            vigie.signUp(FORM, code)
            input(Input.RecoveryCode) { vigie.signUp(FORM.copy(nationalNumber = "B23456"), code) }
        }
    },
    "a disk that is full, and has space again" to {
        val (radio, mark) = Pair(FakeRadio(), File(folder, "full"))
        open(radio) { vigie, _ ->
            mark.createNewFile()
            storage(StorageProblem.FULL) { vigie.start() }
            same(null, radio.advertisement)
            mark.delete()
            vigie.start()
            same(20, radio.advertisement?.serviceData?.size)
        }
    },
    "a store that is damaged in use is salvaged at the next call" to {
        val radio = FakeRadio()
        open(radio) { vigie, clock ->
            vigie.start()
            // More than SQLite keeps in memory of a store: 2 MB.
            val random = Random(1)
            for (scan in 1..6) {
                until("it listens", 30) { radio.isScanning || false.also { clock.advance(20_000u); vigie.wake() } }
                val now = clock.read().nowMs
                radio.hand { sink -> sink.heard(List(PER_SCAN) { ScanResult(random.nextBytes(20), -60, now, null) }) }
                until("they are kept", 30) {
                    clock.advance(5_000u)
                    vigie.wake()
                    vigie.status().encounters == (scan * PER_SCAN).toULong()
                }
            }
        }
        open { vigie, _ ->
            // Its own first look at the store would meet the damage before a call does.
            delay(500)
            RandomAccessFile(store, "rw").use { file ->
                for (page in 1 until file.length() / PAGE) {
                    file.seek(page * PAGE)
                    file.write(ByteArray(PAGE.toInt()) { 0x55 })
                }
            }
            storage(StorageProblem.CORRUPT) { vigie.check(listOf()) }
            vigie.check(listOf())
            vigie.events.first { it is Event.StoreRecovered }
        }
    },
    "a store of a newer version" to {
        open { _, _ -> }
        // SQLite's user version, in its file format at byte 60.
        RandomAccessFile(store, "rw").use { file -> file.seek(60); file.writeInt(1_000) }
        storage(StorageProblem.NEWER) { Vigie.open(config()) }
    },
    "every call after the end" to {
        val vigie = Vigie.open(config())
        vigie.shutDown()
        vigie.shutDown()
        val calls = listOf<suspend () -> Any?>(
            { vigie.start() }, { vigie.stop() }, { vigie.status() }, { vigie.alerts() }, { vigie.risk() }, { vigie.reports() },
            { vigie.check(listOf()) }, { vigie.bulletin("fr", "1") }, { vigie.eraseEverything() }, { vigie.keyLists() },
        )
        for (call in calls) same(2u, failure<VigieException.Internal> { call() }.code)
        same(null, vigie.nextEvent())
        vigie.wake()
        vigie.close()
        vigie.close()
        failure<IllegalStateException> { vigie.status() }
    },
)

/** What SQLite reads at once. */
private const val PAGE = 4_096L

/** What the core follows at a time is 8,192. */
private const val PER_SCAN = 8_000

val FORM = SignUpForm("A23456", "Anna Muller", 1980u, "anna@example.org", true, Language.FRENCH)

fun clientJson() = control("GET", "/client.json")
