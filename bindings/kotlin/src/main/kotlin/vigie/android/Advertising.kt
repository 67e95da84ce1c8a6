package vigie.android

import android.annotation.SuppressLint
import android.bluetooth.le.AdvertiseData
import android.bluetooth.le.AdvertisingSet
import android.bluetooth.le.AdvertisingSetCallback
import android.bluetooth.le.AdvertisingSetParameters
import android.bluetooth.le.BluetoothLeAdvertiser
import android.os.Handler
import java.util.concurrent.CompletableFuture
import java.util.concurrent.TimeUnit
import java.util.concurrent.TimeoutException
import vigie.ffi.Advertisement
import vigie.ffi.RadioProblem

/** Together below the 10 s that a call may take. */
private const val START_MS = 4_000L
private const val STOP_MS = 3_000L

/** In place of a status of Android: the adapter went off. */
private const val POWERED_OFF = -1

/**
 * Sends. Each advertising set that is registered has a random address of its own, so a set is made for each frame and never changed; the old one has
 * ended, as Android confirms, before the next begins. `AdvertisingSet` and not `AdvertiseCallback`, which confirms no end.
 */
@SuppressLint("MissingPermission")
internal class Advertising(
    private val adapter: Adapter,
    private val outlet: Outlet,
    private val server: GattServer?,
    private val handler: Handler,
) {
    @Volatile private var sending: Sending? = null

    fun start(advertisement: Advertisement) {
        if (!end()) throw failed(RadioProblem.Failed(0))
        val advertiser = adapter.powered().bluetoothLeAdvertiser ?: throw failed(RadioProblem.Unsupported)
        server?.change(advertisement.service)
        val next = Sending(advertiser)
        sending = next
        try {
            advertiser.startAdvertisingSet(parameters(), data(advertisement), null, null, null, next, handler)
            next.awaitStart()
        } catch (failure: Exception) {
            // Also what would begin later.
            sending = null
            quietly { advertiser.stopAdvertisingSet(next) }
            throw failure
        }
    }

    fun stop() {
        end()
        server?.close()
    }

    /** The adapter has ended it. */
    fun poweredOff() {
        server?.poweredOff()
        sending?.poweredOff() ?: return
        outlet.use { it.advertisingFailed(RadioProblem.PoweredOff) }
    }

    /** Whether it has ended for sure. */
    private fun end(): Boolean {
        val last = sending ?: return true
        sending = null
        quietly { last.advertiser.stopAdvertisingSet(last) }
        return last.awaitEnd() || adapter.isOff()
    }

    private inner class Sending(val advertiser: BluetoothLeAdvertiser) : AdvertisingSetCallback() {
        private val started = CompletableFuture<Int>()
        private val stopped = CompletableFuture<Unit>()

        override fun onAdvertisingSetStarted(advertisingSet: AdvertisingSet?, txPower: Int, status: Int) {
            started.complete(status)
        }

        override fun onAdvertisingSetStopped(advertisingSet: AdvertisingSet?) {
            stopped.complete(Unit)
        }

        override fun onAdvertisingEnabled(advertisingSet: AdvertisingSet?, enable: Boolean, status: Int) {
            val isUnexpected = sending === this && started.isDone
            if (!enable && isUnexpected) outlet.use { it.advertisingFailed(RadioProblem.Failed(status)) }
        }

        fun poweredOff() {
            started.complete(POWERED_OFF)
            stopped.complete(Unit)
        }

        fun awaitStart() {
            when (val status = started.within(START_MS)) {
                ADVERTISE_SUCCESS -> return
                POWERED_OFF -> throw failed(RadioProblem.PoweredOff)
                ADVERTISE_FAILED_FEATURE_UNSUPPORTED -> throw failed(RadioProblem.Unsupported)
                else -> throw failed(RadioProblem.Failed(status ?: 0))
            }
        }

        fun awaitEnd(): Boolean = adapter.isOff() || stopped.within(STOP_MS) != null
    }

    /** At 250 ms, between the 200 and 270 of Bluetooth Specification v1.2.2, and with the power that the published calibrations are made for. */
    private fun parameters(): AdvertisingSetParameters = AdvertisingSetParameters.Builder()
        .setLegacyMode(true)
        .setConnectable(server != null)
        // Legacy sets are either both or none.
        .setScannable(server != null)
        .setInterval(AdvertisingSetParameters.INTERVAL_MEDIUM)
        .setTxPowerLevel(AdvertisingSetParameters.TX_POWER_LOW)
        .build()

    /** The service and its data, 28 bytes of 31; or the service alone, for which the server has the frame. */
    private fun data(advertisement: Advertisement): AdvertiseData {
        val uuid = parcelUuid(advertisement.service)
        val data = AdvertiseData.Builder().setIncludeDeviceName(false).setIncludeTxPowerLevel(false).addServiceUuid(uuid)
        if (server == null) data.addServiceData(uuid, advertisement.serviceData)
        return data.build()
    }
}

/** What comes of it within so many milliseconds. */
internal fun <T> CompletableFuture<T>.within(ms: Long): T? = try {
    get(ms, TimeUnit.MILLISECONDS)
} catch (_: TimeoutException) {
    null
}
