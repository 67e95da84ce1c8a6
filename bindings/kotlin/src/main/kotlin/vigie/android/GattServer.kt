package vigie.android

import android.annotation.SuppressLint
import android.bluetooth.BluetoothDevice
import android.bluetooth.BluetoothGatt
import android.bluetooth.BluetoothGattCharacteristic
import android.bluetooth.BluetoothGattServer
import android.bluetooth.BluetoothGattServerCallback
import android.bluetooth.BluetoothGattService
import android.bluetooth.BluetoothProfile
import android.content.Context
import java.util.concurrent.CompletableFuture
import vigie.ffi.RadioProblem
import vigie.ffi.VigieException

/** Centrals that are served during one frame, at most, and writes that one of them may do meanwhile; as core/src/radio/ble/bluez/server.rs. */
private const val MOST_CENTRALS = 256
private const val MOST_WRITES = 8

/** A write-back, as core/src/beacon/gatt.rs has it. */
private const val WRITE_BACK_LENGTH = 22

/** To register a service. */
private const val REGISTER_MS = 2_000L

/** Serves the frame to whoever connects, and takes what is written back. Under one address there is one frame: who is connected when it changes is told no more. */
@SuppressLint("MissingPermission")
internal class GattServer(private val context: Context, private val adapter: Adapter, private val outlet: Outlet) {
    @Volatile private var open: Open? = null

    /** Before another frame is sent under this service. */
    @Synchronized
    fun change(service: UShort) {
        open?.let { if (it.service == service && it.change()) return }
        close()
        val next = Open(service)
        open = next
        next.begin()
    }

    @Synchronized
    fun close() {
        open?.end()
        open = null
    }

    /** The adapter has ended it; called on the app's main thread, so that it waits for nobody. */
    fun poweredOff() {
        open?.goesOn = false
    }

    private inner class Open(val service: UShort) : BluetoothGattServerCallback() {
        private val added = CompletableFuture<Int>()
        private val centrals = HashMap<String, Central>()
        private val connected = HashMap<String, BluetoothDevice>()
        private val stale = HashSet<String>()
        @Volatile private var server: BluetoothGattServer? = null
        @Volatile var goesOn = true

        fun begin() {
            val server = adapter.manager?.openGattServer(context, this) ?: throw failed(RadioProblem.Unsupported)
            this.server = server
            val isTaken = server.addService(described(service))
            val status = if (isTaken) added.within(REGISTER_MS) else null
            if (status == BluetoothGatt.GATT_SUCCESS) return
            close()
            throw failed(RadioProblem.Failed(status ?: 0))
        }

        /** Whether it goes on. */
        fun change(): Boolean {
            val parting = synchronized(this) {
                centrals.clear()
                stale.clear()
                stale.addAll(connected.keys)
                connected.values.toList()
            }
            parting.forEach { device -> quietly { server?.cancelConnection(device) } }
            return goesOn
        }

        fun end() {
            quietly { server?.close() }
            server = null
        }

        override fun onServiceAdded(status: Int, service: BluetoothGattService?) {
            added.complete(status)
        }

        override fun onConnectionStateChange(device: BluetoothDevice, status: Int, newState: Int) = synchronized(this) {
            if (newState == BluetoothProfile.STATE_CONNECTED) {
                connected[device.address] = device
            } else {
                connected.remove(device.address)
                centrals[device.address]?.parts?.reset()
            }
            Unit
        }

        override fun onCharacteristicReadRequest(
            device: BluetoothDevice, requestId: Int, offset: Int, characteristic: BluetoothGattCharacteristic,
        ) {
            val payload = synchronized(this) {
                central(device)?.also { if (offset == 0) it.payload = outlet.use { sink -> sink.payload() } ?: ByteArray(0) }?.payload
            }
            val status = when {
                payload == null || payload.isEmpty() || characteristic.uuid != PAYLOAD_CHARACTERISTIC -> BluetoothGatt.GATT_READ_NOT_PERMITTED
                offset > payload.size -> BluetoothGatt.GATT_INVALID_OFFSET
                else -> BluetoothGatt.GATT_SUCCESS
            }
            val answer = if (status == BluetoothGatt.GATT_SUCCESS) payload?.drop(offset)?.toByteArray() else null
            respond(device, requestId, status, offset, answer)
        }

        override fun onCharacteristicWriteRequest(
            device: BluetoothDevice, requestId: Int, characteristic: BluetoothGattCharacteristic,
            preparedWrite: Boolean, responseNeeded: Boolean, offset: Int, value: ByteArray?,
        ) {
            val part = value ?: ByteArray(0)
            val central = synchronized(this) { central(device)?.takeIf { it.writes++ < MOST_WRITES } }
            val status = when {
                central == null || characteristic.uuid != WRITE_BACK_CHARACTERISTIC -> BluetoothGatt.GATT_WRITE_NOT_PERMITTED
                preparedWrite -> synchronized(this) { central.parts.put(offset, part) }
                offset != 0 -> BluetoothGatt.GATT_INVALID_OFFSET
                else -> wrote(part)
            }
            // A part is repeated to the writer, which compares.
            if (responseNeeded) respond(device, requestId, status, offset, part)
        }

        override fun onExecuteWrite(device: BluetoothDevice, requestId: Int, execute: Boolean) {
            val whole = synchronized(this) { central(device)?.parts?.take() }
            val status = when {
                whole == null -> BluetoothGatt.GATT_WRITE_NOT_PERMITTED
                execute -> wrote(whole)
                else -> BluetoothGatt.GATT_SUCCESS
            }
            respond(device, requestId, status, 0, null)
        }

        private fun wrote(value: ByteArray): Int = try {
            outlet.use { it.wrote(value, System.currentTimeMillis()) }
            BluetoothGatt.GATT_SUCCESS
        } catch (_: VigieException) {
            BluetoothGatt.GATT_INVALID_ATTRIBUTE_LENGTH
        }

        /** `null` for whom nothing is told or asked. */
        private fun central(device: BluetoothDevice): Central? {
            val address = device.address
            if (address in stale || (address !in centrals && centrals.size >= MOST_CENTRALS)) return null
            return centrals.getOrPut(address, ::Central)
        }

        private fun respond(device: BluetoothDevice, requestId: Int, status: Int, offset: Int, value: ByteArray?) = quietly {
            server?.sendResponse(device, requestId, status, offset, value)
        }
    }
}

private class Central {
    val parts = LongWrite()
    var writes = 0

    /** What it began to read: a long read goes on with the same bytes. */
    var payload: ByteArray? = null
}

/** Puts a write-back together from parts with offsets, as `LongWrite` of core/src/beacon/gatt.rs does. */
internal class LongWrite {
    private var received = ByteArray(0)

    /** Takes a part; gives the status of GATT. A part may repeat what has come, and may leave no hole. */
    fun put(offset: Int, part: ByteArray): Int {
        if (offset < 0 || offset > received.size) return BluetoothGatt.GATT_INVALID_OFFSET
        if (part.size > WRITE_BACK_LENGTH - offset) return BluetoothGatt.GATT_INVALID_ATTRIBUTE_LENGTH
        if (offset + part.size > received.size) received = received.copyOf(offset + part.size)
        part.copyInto(received, offset)
        return BluetoothGatt.GATT_SUCCESS
    }

    /** What was written, and a clean slate. */
    fun take(): ByteArray = received.also { reset() }

    fun reset() {
        received = ByteArray(0)
    }
}

private fun described(service: UShort) = BluetoothGattService(fullUuid(service), BluetoothGattService.SERVICE_TYPE_PRIMARY).apply {
    addCharacteristic(readable(PAYLOAD_CHARACTERISTIC))
    addCharacteristic(writable(WRITE_BACK_CHARACTERISTIC))
}

private fun readable(uuid: java.util.UUID) =
    BluetoothGattCharacteristic(uuid, BluetoothGattCharacteristic.PROPERTY_READ, BluetoothGattCharacteristic.PERMISSION_READ)

private fun writable(uuid: java.util.UUID) =
    BluetoothGattCharacteristic(uuid, BluetoothGattCharacteristic.PROPERTY_WRITE, BluetoothGattCharacteristic.PERMISSION_WRITE)
