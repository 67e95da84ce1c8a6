/** Vigie for Android, against fakes of Android and through the real library: its radio; the rest in the files beside. */
package vigie.android.tests

import android.bluetooth.BluetoothGatt
import android.bluetooth.BluetoothGattCharacteristic
import android.bluetooth.BluetoothGattServer
import android.bluetooth.le.AdvertisingSetCallback
import android.bluetooth.le.ScanCallback
import android.bluetooth.le.ScanSettings
import android.os.Build
import android.os.ParcelUuid
import java.nio.file.Files
import java.util.UUID
import java.util.concurrent.CountDownLatch
import kotlin.system.exitProcess
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import vigie.Vigie
import vigie.android.BleRadio
import vigie.android.Form
import vigie.ffi.Config
import vigie.ffi.ManualClock
import vigie.ffi.Permission
import vigie.ffi.RadioProblem
import vigie.ffi.Scanning
import vigie.ffi.VigieException
import vigie.ffi.liveObjects

/** 22 October 2020, 18:00 UTC. */
private const val NOW_MS = 1_603_389_600_000L

private const val SERVICE = "0000fd64-0000-1000-8000-00805f9b34fb"
private val UUID_OF_SERVICE = UUID.fromString(SERVICE)
private val PAYLOAD = UUID.fromString("F26FE877-2AD9-4E24-8F90-E76022FAABBB")
private val WRITE_BACK = UUID.fromString("77505958-11F1-4156-8608-84C57F9BB54A")

/** Android 15, and Android 11. */
private const val NEW = 35
const val OLD = 30

/** A phone with a tracer. */
class Phone(val system: FakeSystem, val vigie: Vigie, private val clock: ManualClock) {
    val nowMs get() = clock.read().nowMs
    val scanner get() = system.adapter.scanner
    val advertiser get() = system.adapter.advertiser

    fun pass(seconds: Int) {
        clock.advance(seconds.toULong() * 1_000UL)
        vigie.wake()
    }

    /** Lets minutes pass until it listens. */
    suspend fun listens() = until("it listens") { (scanner.callback != null).also { if (!it) pass(20) } }

    suspend fun listensNoMore() {
        pass(5)
        until("it listens no more") { scanner.callback == null }
    }

    suspend fun problem(expected: RadioProblem?) = until("problem $expected") { vigie.status().radioProblem == expected }

    /** A packet of somebody who sends this frame, some seconds from now. */
    fun packet(frame: ByteArray, afterMs: Long = 0, dbm: Int = -55) =
        Packet(FakePeer("AA:BB"), dbm, nowMs + afterMs, mapOf(ParcelUuid(UUID_OF_SERVICE) to frame), listOf(ParcelUuid(UUID_OF_SERVICE)))

    /** A packet of a device that shows the service alone. */
    fun shown(peer: FakePeer, dbm: Int = -60) = Packet(peer, dbm, nowMs, emptyMap(), listOf(ParcelUuid(UUID_OF_SERVICE)))
}

private val TESTS = listOf<Pair<String, suspend () -> Unit>>(
    "what the controller gathers is handed over when listening ends, and counts as encounters" to {
        phone {
            vigie.start()
            listens()
            scanner.pending += List(4) { packet(ByteArray(20) { 7 }, it * 1_000L) } + List(4) { packet(ByteArray(20) { 8 }, it * 1_000L) }
            listensNoMore()
            until("two encounters") { vigie.status().encounters == 2UL }
            same(ScanSettings.SCAN_MODE_LOW_LATENCY, scanner.settings!!.fake["scanMode"])
            same(5_000L, scanner.settings!!.fake["reportDelay"])
        }
    },
    "a controller that gathers nothing is heard packet by packet" to {
        phone(FakeSystem(gathers = false)) {
            vigie.start()
            listens()
            same(0L, scanner.settings!!.fake["reportDelay"])
            repeat(100) { scanner.callback!!.onScanResult(ScanSettings.CALLBACK_TYPE_ALL_MATCHES, packet(ByteArray(20) { 7 }, it * 40L)) }
            listensNoMore()
            until("an encounter") { vigie.status().encounters == 1UL }
        }
    },
    "more than crosses in one piece is handed over in parts, and nothing is lost" to {
        phone {
            vigie.start()
            listens()
            scanner.pending += List(2_500) { packet(ByteArray(20) { _ -> (it % 5).toByte() }, it * 1L) }
            listensNoMore()
            until("five encounters") { vigie.status().encounters == 5UL }
        }
    },
    "whoever sends data under the service is looked for, and whoever shows it" to {
        phone {
            vigie.start()
            listens()
            val uuid = ParcelUuid(UUID_OF_SERVICE)
            same(2, scanner.filters.size)
            val data = scanner.filters[0].fake["serviceData"] as List<*>
            same(uuid, data[0])
            same(listOf<Byte>(0), (data[2] as ByteArray).toList())
            same(uuid, scanner.filters[1].fake["serviceUuid"])
        }
    },
    "packets without a strength, without a record, or of others are nothing" to {
        phone {
            vigie.start()
            listens()
            val other = ParcelUuid(UUID.fromString(SERVICE.replace("fd64", "fd6f")))
            scanner.pending += List(4) { packet(ByteArray(20), it * 1_000L, dbm = 127) }
            scanner.pending += List(4) { packet(ByteArray(19), it * 1_000L) }
            scanner.pending += Packet(FakePeer("CC"), -50, nowMs, mapOf(other to ByteArray(20)), listOf(other))
            listensNoMore()
            same(0UL, vigie.status().encounters)
        }
    },
    "service and data are sent, and nobody can connect" to {
        phone {
            vigie.start()
            same(20, advertiser.sent()!!.size)
            same(listOf(ParcelUuid(UUID_OF_SERVICE)), advertiser.services())
            val parameters = advertiser.parameters!!.fake
            same(listOf<Any?>(true, false, false, 400), listOf(parameters["legacyMode"], parameters["connectable"], parameters["scannable"], parameters["interval"]))
            same(null, system.manager.server)
            vigie.stop()
            same(listOf("start", "stop", "stopped"), advertiser.log.toList())
        }
    },
    "an identifier changes with the set: the old one has ended before the next begins" to {
        phone {
            vigie.start()
            val before = advertiser.sent()!!.toList()
            until("another set") { (advertiser.log.size >= 4).also { if (!it) pass(60) } }
            same(listOf("start", "stop", "stopped", "start"), advertiser.log.take(4))
            check(advertiser.sent()!!.toList() != before) { "the same bytes are sent under another address" }
        }
    },
    "where the system does not say that the old set has ended, no other begins beside it" to {
        phone {
            vigie.start()
            advertiser.confirmsStop = false
            until("a stop") { ("stop" in advertiser.log).also { if (!it) pass(60) } }
            problem(RadioProblem.Failed(0))
            same(listOf("start", "stop"), advertiser.log.toList())
            advertiser.confirmsStop = true
            until("another set") { (advertiser.log.size >= 3).also { if (!it) pass(6) } }
            problem(null)
        }
    },
    "the frame is served over GATT where the advertisement shows the service alone" to {
        phone(form = Form.CONNECTABLE) {
            vigie.start()
            same(null, advertiser.sent())
            same(true, advertiser.parameters!!.fake["connectable"])
            val server = system.manager.server!!
            same(UUID_OF_SERVICE, server.service!!.uuid)
            val permissions = mapOf(PAYLOAD to BluetoothGattCharacteristic.PERMISSION_READ, WRITE_BACK to BluetoothGattCharacteristic.PERMISSION_WRITE)
            same(permissions, server.served())
            val central = FakePeer("11:22")
            server.callback.onConnectionStateChange(central, 0, BluetoothGatt.STATE_CONNECTED)
            val whole = server.read(central, 0).value!!
            same(21, whole.size)
            same<Byte>(1, whole[0])
            same(whole.drop(18), server.read(central, 18).value!!.toList())
            same(BluetoothGatt.GATT_INVALID_OFFSET, server.read(central, 22).status)
            until("another frame") { (advertiser.log.count { it == "start" } == 2).also { if (!it) pass(60) } }
            until("the central is parted from") { central in server.parted }
            same(BluetoothGatt.GATT_READ_NOT_PERMITTED, server.read(central, 0).status)
            val other = FakePeer("33:44")
            until("the next frame is served") { server.read(other, 0).status == BluetoothGatt.GATT_SUCCESS }
            val next = server.read(other, 0).value!!
            check(next.toList() != whole.toList()) { "the same frame is served under another address" }
            vigie.stop()
            check(server.isClosed) { "the server is open after the end" }
        }
    },
    "a long write is put together, and counts as an encounter; nonsense is refused" to {
        // What is written is stamped with the system's time.
        phone(form = Form.CONNECTABLE, nowMs = System.currentTimeMillis(), scanning = Scanning.CONTINUOUS) {
            vigie.start()
            until("it listens") { scanner.callback != null }
            val server = system.manager.server!!
            val central = FakePeer("11:22")
            val value = byteArrayOf(1) + ByteArray(20) { 9 } + byteArrayOf(-60)
            same(BluetoothGatt.GATT_SUCCESS, server.write(central, true, 0, value.copyOf(18)).status)
            same(BluetoothGatt.GATT_SUCCESS, server.write(central, true, 18, value.copyOfRange(18, 22)).status)
            same(0UL, vigie.status().encounters)
            same(BluetoothGatt.GATT_SUCCESS, server.execute(central).status)
            until("an encounter") { (vigie.status().encounters == 1UL).also { if (!it) pass(5) } }
            val stranger = FakePeer("55:66")
            same(BluetoothGatt.GATT_INVALID_OFFSET, server.write(stranger, true, 3, ByteArray(4)).status)
            same(BluetoothGatt.GATT_INVALID_ATTRIBUTE_LENGTH, server.write(stranger, true, 0, ByteArray(23)).status)
            same(BluetoothGatt.GATT_INVALID_ATTRIBUTE_LENGTH, server.write(stranger, false, 0, ByteArray(22) { 5 }).status)
            repeat(5) { server.write(stranger, true, 0, ByteArray(4)) }
            same(BluetoothGatt.GATT_WRITE_NOT_PERMITTED, server.write(stranger, true, 0, ByteArray(4)).status)
        }
    },
    "a system that does not register the service is a problem with its code" to {
        phone(form = Form.CONNECTABLE) {
            system.manager.serverStatus = 129
            fails<VigieException> { vigie.start() }
            problem(RadioProblem.Failed(129))
            system.manager.serverStatus = BluetoothGatt.GATT_SUCCESS
            until("it sends") { vigie.status().isSending.also { if (!it) pass(6) } }
        }
    },
    "a peer that shows the service alone is read, is told of us, and counts as an encounter" to { exchange(NEW) },
    "so it is on Android 11" to { exchange(OLD) },
    "a peer that does not answer, answers badly, or is no peer of ours is parted from" to {
        phone {
            vigie.start()
            listens()
            val refuses = peer("AA:01").apply { connects = 133 }
            val fails = peer("AA:02").apply { readStatus = BluetoothGatt.GATT_READ_NOT_PERMITTED }
            val other = FakePeer("AA:03")
            scanner.pending += listOf(shown(refuses), shown(fails), shown(other))
            scanner.flushPendingScanResults(scanner.callback!!)
            for (peer in listOf(refuses, fails, other)) until("${peer.address} is closed") { peer.gatt?.isClosed == true }
            same(0UL, vigie.status().encounters)
        }
    },
    "an adapter that is off is said, and what was begun goes on when it is back" to {
        phone {
            system.switch(false)
            fails<VigieException.AdapterUnavailable> { vigie.start() }
            problem(RadioProblem.PoweredOff)
            system.switch(true)
            until("it sends") { vigie.status().isSending.also { if (!it) pass(6) } }
            system.switch(false)
            until("problem") { (vigie.status().radioProblem == RadioProblem.PoweredOff).also { if (!it) pass(2) } }
            system.switch(true)
            until("it sends") { (vigie.status().radioProblem == null && vigie.status().isSending).also { if (!it) pass(6) } }
        }
    },
    "the main thread, which is told that the adapter is off, waits for no scan that ends" to {
        phone {
            vigie.start()
            listens()
            val gate = CountDownLatch(1)
            scanner.gate = gate
            pass(5)
            until("the scan ends") { scanner.isWaiting }
            system.switch(false)
            check(scanner.isWaiting) { "the main thread waited" }
            scanner.gate = null
            gate.countDown()
            until("problem") { (vigie.status().radioProblem == RadioProblem.PoweredOff).also { if (!it) pass(2) } }
        }
    },
    "what the system says of an advertisement is the problem" to {
        val said = mapOf(
            AdvertisingSetCallback.ADVERTISE_FAILED_TOO_MANY_ADVERTISERS to RadioProblem.Failed(2),
            AdvertisingSetCallback.ADVERTISE_FAILED_FEATURE_UNSUPPORTED to RadioProblem.Unsupported,
        )
        for ((status, expected) in said) {
            phone {
                advertiser.status = status
                fails<VigieException> { vigie.start() }
                problem(expected)
                advertiser.status = AdvertisingSetCallback.ADVERTISE_SUCCESS
                until("it sends") { vigie.status().isSending.also { if (!it) pass(6) } }
            }
        }
    },
    "a scan that the system refuses is said with its code, and begun again" to {
        phone {
            vigie.start()
            listens()
            scanner.callback!!.onScanFailed(ScanCallback.SCAN_FAILED_SCANNING_TOO_FREQUENTLY)
            pass(1)
            problem(RadioProblem.Failed(6))
            val starts = scanner.starts
            until("it listens again") { (scanner.starts > starts).also { if (!it) pass(6) } }
        }
    },
    "a permission that is missing, or taken back, is asked for" to {
        phone {
            system.hasPermissions = false
            same(Permission.BLUETOOTH, fails<VigieException.PermissionNeeded> { vigie.start() }.permission)
            problem(RadioProblem.PermissionNeeded)
            system.hasPermissions = true
            advertiser.surprise = SecurityException("Need android.permission.BLUETOOTH_ADVERTISE")
            pass(6)
            problem(RadioProblem.PermissionNeeded)
            advertiser.surprise = null
            until("it sends") { vigie.status().isSending.also { if (!it) pass(6) } }
        }
    },
    "what else Android throws is a problem, too" to {
        phone {
            advertiser.surprise = IllegalStateException("BT Adapter is not turned ON")
            fails<VigieException> { vigie.start() }
            problem(RadioProblem.Failed(0))
        }
    },
    "the end does not wait for an advertisement that never begins, and takes it back" to {
        val system = FakeSystem()
        system.adapter.advertiser.status = null
        phone(system) {
            fails<VigieException> { vigie.start() }
            same(listOf("start", "stop"), advertiser.log.take(2))
            withTimeout(10.seconds) { vigie.shutDown() }
        }
        check(system.receivers.isEmpty()) { "somebody still listens to the system" }
    },
    "the end does not wait for an exchange, and parts from the peer" to {
        val silent = peer("AA:04").apply { connects = null }
        phone {
            vigie.start()
            listens()
            scanner.pending += shown(silent)
            scanner.flushPendingScanResults(scanner.callback!!)
            until("it connects") { silent.gatt != null }
            withTimeout(3.seconds) { vigie.shutDown() }
            until("it has parted") { silent.gatt!!.isClosed }
            check(silent.gatt!!.isDisconnected) { "it was closed and not disconnected" }
        }
    },
)

private suspend fun exchange(version: Int) {
    Build.VERSION.SDK_INT = version
    val peer = peer("AA:00").apply { isOld = version < Build.VERSION_CODES.TIRAMISU }
    phone {
        vigie.start()
        listens()
        scanner.pending += shown(peer)
        scanner.flushPendingScanResults(scanner.callback!!)
        until("it has parted") { peer.gatt?.isClosed == true }
        val written = peer.gatt!!.written!!
        same(byteArrayOf(1).toList() + advertiser.sent()!!.toList() + listOf<Byte>(-60), written.toList())
        check(peer.gatt!!.isDisconnected) { "it was closed and not disconnected" }
        scanner.pending += List(4) { shown(peer) }
        listensNoMore()
        until("an encounter") { vigie.status().encounters == 1UL }
    }
}

/** A device that serves as core/src/radio/ble has it. */
private fun peer(name: String) =
    FakePeer(name, mapOf(UUID_OF_SERVICE to FakeService(PAYLOAD, WRITE_BACK)), byteArrayOf(1) + ByteArray(20) { 3 })

private fun FakeServer.read(central: FakePeer, offset: Int) =
    said { callback.onCharacteristicReadRequest(central, 1, offset, BluetoothGattCharacteristic(PAYLOAD, 0, 0)) }

private fun FakeServer.write(central: FakePeer, isPart: Boolean, offset: Int, value: ByteArray) =
    said { callback.onCharacteristicWriteRequest(central, 1, BluetoothGattCharacteristic(WRITE_BACK, 0, 0), isPart, true, offset, value) }

private fun FakeServer.execute(central: FakePeer) = said { callback.onExecuteWrite(central, 1, true) }

private fun FakeServer.said(request: BluetoothGattServer.() -> Unit): FakeServer.Response {
    val before = responses.size
    request()
    same(before + 1, responses.size)
    return responses.last()
}

/** Opens a tracer on a phone, and leaves nothing behind. */
suspend fun phone(
    system: FakeSystem = FakeSystem(),
    form: Form = Form.FRAME,
    nowMs: Long = NOW_MS,
    scanning: Scanning = Scanning.PERIODIC,
    use: suspend Phone.() -> Unit,
) {
    val folder = Files.createTempDirectory("vigie").toFile()
    val clock = ManualClock(nowMs)
    val config = Config(storePath = folder.resolve("store").path, downloadsPath = folder.resolve("downloads").path, scanning = scanning)
    val vigie = Vigie.open(config, radio = BleRadio(system, form), clock = clock)
    try {
        Phone(system, vigie, clock).use()
    } finally {
        vigie.shutDown()
        vigie.close()
        clock.close()
        folder.deleteRecursively()
    }
    until("nothing is held: ${liveObjects()}") { System.gc(); liveObjects() == 0UL }
}

suspend fun until(what: String, isSo: suspend () -> Boolean) {
    val end = System.nanoTime() + 30_000_000_000L
    while (!isSo()) {
        check(System.nanoTime() < end) { "waited in vain: $what" }
        delay(20)
    }
}

fun <T> same(expected: T, found: T) = check(expected == found) { "expected $expected, found $found" }

suspend inline fun <reified E : Throwable> fails(call: suspend () -> Unit): E {
    try {
        call()
    } catch (failure: Throwable) {
        return failure as? E ?: throw failure
    }
    error("it did not fail")
}

fun main(arguments: Array<String>) {
    var passed = 0
    var failed = 0
    for ((name, test) in (TESTS + SERVICE_TESTS + VAULT_TESTS).filter { (name, _) -> arguments.isEmpty() || arguments.any(name::contains) }) {
        Build.VERSION.SDK_INT = NEW
        try {
            runBlocking { withTimeout(90.seconds) { test() } }
            println("$name: ok")
            passed++
        } catch (failure: Throwable) {
            println("$name: ${failure.stackTraceToString()}")
            failed++
        }
    }
    println("$passed passed, $failed failed")
    exitProcess(if (failed == 0) 0 else 1)
}
