package vigie.android

import android.annotation.SuppressLint
import android.bluetooth.BluetoothDevice
import android.bluetooth.le.BluetoothLeScanner
import android.bluetooth.le.ScanCallback
import android.bluetooth.le.ScanFilter
import android.bluetooth.le.ScanSettings
import android.os.SystemClock
import java.util.concurrent.CountDownLatch
import java.util.concurrent.RejectedExecutionException
import java.util.concurrent.ScheduledExecutorService
import java.util.concurrent.TimeUnit
import vigie.ffi.RadioProblem
import vigie.ffi.ScanResult

/** The controller gathers for so long, where it can; Android takes no less than 5 s (AOSP, `ScanManager`), and what is left is fetched at the end. */
private const val REPORT_DELAY_MS = 5_000L

/** Where the controller gathers nothing, this does. */
private const val GATHER_MS = 500L
private const val GATHER_MOST = 64

/** The controller says nothing where it has heard nothing. */
private const val FLUSH_MS = 500L

/** Results of at most 60 bytes: what crosses in one piece stays below 64 KiB. */
private const val MOST_AT_ONCE = 1_000

/** Strengths that are one: 127 stands for none. */
private val RSSI = -127..20

/** Listens, and hands over what it hears. */
@SuppressLint("MissingPermission")
internal class Scanning(
    private val adapter: Adapter,
    private val outlet: Outlet,
    private val peers: Peers,
    private val timer: ScheduledExecutorService,
) {
    private var listening: Listening? = null

    @Synchronized
    fun start(services: List<UShort>) {
        // Android punishes whoever starts five times in 30 s.
        if (listening?.let { it.goesOn && it.services == services } == true) return
        stop()
        val adapter = adapter.powered()
        val scanner = adapter.bluetoothLeScanner ?: throw failed(RadioProblem.Unsupported)
        val gathers = adapter.isOffloadedScanBatchingSupported
        val next = Listening(services, scanner, gathers)
        scanner.startScan(services.flatMap(::filters), settings(gathers), next)
        listening = next
    }

    @Synchronized
    fun stop() {
        listening?.end()
        listening = null
    }

    /** The adapter has ended it. */
    fun poweredOff() {
        val ended = synchronized(this) { listening.also { listening = null } } ?: return
        ended.handOver()
        outlet.use { it.scanningFailed(RadioProblem.PoweredOff) }
    }

    private inner class Listening(val services: List<UShort>, val scanner: BluetoothLeScanner, val gathers: Boolean) : ScanCallback() {
        private val gathered = ArrayList<ScanResult>()
        private val flushed = CountDownLatch(1)
        private val uuids = services.map(::parcelUuid)
        private var isEnding = false

        @Volatile var goesOn = true
            private set

        override fun onScanResult(callbackType: Int, result: android.bluetooth.le.ScanResult) {
            val heard = read(result) ?: return
            val count = synchronized(gathered) { gathered.add(heard); gathered.size }
            when {
                count >= GATHER_MOST -> handOver()
                count == 1 -> later(::handOver)
            }
        }

        override fun onBatchScanResults(results: MutableList<android.bluetooth.le.ScanResult>) {
            synchronized(gathered) { results.mapNotNullTo(gathered, ::read) }
            handOver()
            if (synchronized(this) { isEnding }) flushed.countDown()
        }

        override fun onScanFailed(errorCode: Int) {
            goesOn = false
            val isUnsupported = errorCode == SCAN_FAILED_FEATURE_UNSUPPORTED
            outlet.use { it.scanningFailed(if (isUnsupported) RadioProblem.Unsupported else RadioProblem.Failed(errorCode)) }
        }

        fun handOver() {
            val batch = synchronized(gathered) { gathered.toList().also { gathered.clear() } }
            batch.chunked(MOST_AT_ONCE).forEach { part -> outlet.use { it.heard(part) } }
        }

        fun end() {
            if (gathers && goesOn && !adapter.isOff()) {
                synchronized(this) { isEnding = true }
                quietly { scanner.flushPendingScanResults(this); flushed.await(FLUSH_MS, TimeUnit.MILLISECONDS) }
            }
            quietly { scanner.stopScan(this) }
            handOver()
        }

        private fun read(result: android.bluetooth.le.ScanResult): ScanResult? {
            val record = result.scanRecord ?: return null
            val rssi = result.rssi.takeIf { it in RSSI }?.toByte() ?: return null
            // Android stamps on the clock since boot.
            val ageMs = SystemClock.elapsedRealtime() - TimeUnit.NANOSECONDS.toMillis(result.timestampNanos)
            val atMs = System.currentTimeMillis() - ageMs
            uuids.firstNotNullOfOrNull(record::getServiceData)?.let { return ScanResult(it, rssi, atMs, null) }
            val isOurs = record.serviceUuids.orEmpty().any(uuids::contains)
            if (!isOurs || !result.isConnectable) return null
            return ScanResult(ByteArray(0), rssi, atMs, peers.remember(result.device))
        }

        private fun later(work: () -> Unit) {
            try {
                timer.schedule(work, GATHER_MS, TimeUnit.MILLISECONDS)
            } catch (_: RejectedExecutionException) {
                // It is the end, and whoever ends this hands over.
            }
        }
    }
}

/** Devices that show the service alone, by the names that the library knows them by: their addresses, kept in memory only. */
internal class Peers {
    private val devices = object : LinkedHashMap<String, BluetoothDevice>(16, 0.75f, true) {
        override fun removeEldestEntry(eldest: MutableMap.MutableEntry<String, BluetoothDevice>) = size > MOST
    }

    @Synchronized
    fun remember(device: BluetoothDevice): String = device.address.also { devices[it] = device }

    /** As it was heard: an address alone does not say of which type it is. */
    @Synchronized
    fun find(name: String): BluetoothDevice? = devices[name]

    private companion object {
        const val MOST = 1_024
    }
}

/** Whoever sends data under the service, whatever the data (no bit of the mask is set), and whoever shows it. Unfiltered scans end with the screen. */
private fun filters(service: UShort): List<ScanFilter> {
    val uuid = parcelUuid(service)
    return listOf(
        ScanFilter.Builder().setServiceData(uuid, byteArrayOf(0), byteArrayOf(0)).build(),
        ScanFilter.Builder().setServiceUuid(uuid).build(),
    )
}

/** All of the time: the library says when to listen, by default 4 s in some minutes. */
private fun settings(gathers: Boolean): ScanSettings = ScanSettings.Builder()
    .setScanMode(ScanSettings.SCAN_MODE_LOW_LATENCY)
    .setCallbackType(ScanSettings.CALLBACK_TYPE_ALL_MATCHES)
    .setMatchMode(ScanSettings.MATCH_MODE_AGGRESSIVE)
    .setNumOfMatches(ScanSettings.MATCH_NUM_MAX_ADVERTISEMENT)
    .setReportDelay(if (gathers) REPORT_DELAY_MS else 0)
    .build()
