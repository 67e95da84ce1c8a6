package vigie.android

import android.annotation.SuppressLint
import android.bluetooth.BluetoothDevice
import android.bluetooth.BluetoothGatt
import android.bluetooth.BluetoothGattCallback
import android.bluetooth.BluetoothGattCharacteristic
import android.bluetooth.BluetoothProfile
import android.bluetooth.BluetoothStatusCodes
import android.content.Context
import android.os.Build
import android.os.Handler
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import vigie.ffi.RadioProblem

/** As core/src/radio/ble/bluez/exchange.rs: 10 s together, at most. */
private const val CONNECT_MS = 4_000L
private const val DISCOVER_MS = 2_000L
private const val READ_MS = 1_500L
private const val WRITE_MS = 1_500L
private const val PART_MS = 500L

/** Connects to a peer that shows the service alone, reads its frame, writes back our own, and disconnects. */
@SuppressLint("MissingPermission")
internal class GattClient(private val context: Context, private val adapter: Adapter, private val peers: Peers, private val handler: Handler) {
    private var current: Exchange? = null
    private var isEnded = false

    fun exchange(peer: String, service: UShort, writeBack: ByteArray): ByteArray {
        val powered = adapter.powered()
        val device = peers.find(peer) ?: powered.getRemoteDevice(peer)
        val exchange = Exchange()
        synchronized(this) {
            if (isEnded) throw failed(RadioProblem.Failed(0))
            current = exchange
        }
        try {
            return exchange.run(device, service, writeBack)
        } finally {
            synchronized(this) { current = null }
            exchange.part()
        }
    }

    /** Ends the exchange that is going on; there are no others. */
    fun end() = synchronized(this) {
        isEnded = true
        current?.breakOff()
        Unit
    }

    private inner class Exchange : BluetoothGattCallback() {
        private val steps = LinkedBlockingQueue<Step>()
        private var gatt: BluetoothGatt? = null

        fun run(device: BluetoothDevice, service: UShort, writeBack: ByteArray): ByteArray {
            val gatt = device.connectGatt(
                context, false, this, BluetoothDevice.TRANSPORT_LE, BluetoothDevice.PHY_LE_1M_MASK, handler,
            ) ?: throw failed(RadioProblem.Failed(0))
            this.gatt = gatt
            await<Step.Connected>(CONNECT_MS)
            begun(gatt.discoverServices())
            await<Step.Discovered>(DISCOVER_MS)
            val served = gatt.getService(fullUuid(service))
            val readable = served?.getCharacteristic(PAYLOAD_CHARACTERISTIC) ?: throw failed(RadioProblem.Unsupported)
            begun(gatt.readCharacteristic(readable))
            val payload = await<Step.Read>(READ_MS).value
            val writable: BluetoothGattCharacteristic? = served.getCharacteristic(WRITE_BACK_CHARACTERISTIC)
            // We know who it is; that it does not want to know us is its own loss. While nothing is sent there is nothing to write.
            if (writeBack.isNotEmpty() && writable != null && gatt.write(writable, writeBack)) next(WRITE_MS)
            return payload
        }

        fun breakOff() {
            steps.offer(Step.Gone(0))
        }

        fun part() {
            val gatt = gatt ?: return
            quietly {
                gatt.disconnect()
                next(PART_MS)
            }
            quietly { gatt.close() }
        }

        override fun onConnectionStateChange(gatt: BluetoothGatt, status: Int, newState: Int) {
            val isConnected = status == BluetoothGatt.GATT_SUCCESS && newState == BluetoothProfile.STATE_CONNECTED
            steps.offer(if (isConnected) Step.Connected else Step.Gone(status))
        }

        override fun onServicesDiscovered(gatt: BluetoothGatt, status: Int) {
            steps.offer(if (status == BluetoothGatt.GATT_SUCCESS) Step.Discovered else Step.Gone(status))
        }

        /** From Android 13 on. */
        override fun onCharacteristicRead(gatt: BluetoothGatt, characteristic: BluetoothGattCharacteristic, value: ByteArray, status: Int) {
            steps.offer(if (status == BluetoothGatt.GATT_SUCCESS) Step.Read(value) else Step.Gone(status))
        }

        @Deprecated("Android calls it up to version 12")
        @Suppress("DEPRECATION")
        override fun onCharacteristicRead(gatt: BluetoothGatt, characteristic: BluetoothGattCharacteristic, status: Int) {
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) return
            onCharacteristicRead(gatt, characteristic, characteristic.value ?: ByteArray(0), status)
        }

        override fun onCharacteristicWrite(gatt: BluetoothGatt, characteristic: BluetoothGattCharacteristic, status: Int) {
            steps.offer(Step.Written)
        }

        private inline fun <reified T : Step> await(ms: Long): T = when (val step = next(ms)) {
            is T -> step
            is Step.Gone -> throw failed(RadioProblem.Failed(step.status))
            else -> throw failed(RadioProblem.Failed(0))
        }

        private fun next(ms: Long): Step? = steps.poll(ms, TimeUnit.MILLISECONDS)

        private fun begun(isBegun: Boolean) {
            if (!isBegun) throw failed(RadioProblem.Failed(0))
        }
    }
}

/** What Android says of a connection. */
private sealed class Step {
    data object Connected : Step()

    data object Discovered : Step()

    class Read(val value: ByteArray) : Step()

    data object Written : Step()

    class Gone(val status: Int) : Step()
}

/** A write-back is longer than a packet may be: Android makes a long write of it. */
@SuppressLint("MissingPermission")
@Suppress("DEPRECATION")
private fun BluetoothGatt.write(characteristic: BluetoothGattCharacteristic, value: ByteArray): Boolean {
    val type = BluetoothGattCharacteristic.WRITE_TYPE_DEFAULT
    if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
        return writeCharacteristic(characteristic, value, type) == BluetoothStatusCodes.SUCCESS
    }
    characteristic.writeType = type
    characteristic.value = value
    return writeCharacteristic(characteristic)
}
