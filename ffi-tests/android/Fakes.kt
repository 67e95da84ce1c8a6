/** Android's Bluetooth without Android: what is asked of it is looked at, and what it says is handed in. */
package vigie.android.tests

import android.bluetooth.BluetoothAdapter
import android.bluetooth.BluetoothDevice
import android.bluetooth.BluetoothGatt
import android.bluetooth.BluetoothGattCallback
import android.bluetooth.BluetoothGattCharacteristic
import android.bluetooth.BluetoothGattServer
import android.bluetooth.BluetoothGattServerCallback
import android.bluetooth.BluetoothGattService
import android.bluetooth.BluetoothManager
import android.bluetooth.le.AdvertiseData
import android.bluetooth.le.AdvertisingSetCallback
import android.bluetooth.le.AdvertisingSetParameters
import android.bluetooth.le.BluetoothLeAdvertiser
import android.bluetooth.le.BluetoothLeScanner
import android.bluetooth.le.PeriodicAdvertisingParameters
import android.bluetooth.le.ScanCallback
import android.bluetooth.le.ScanFilter
import android.bluetooth.le.ScanRecord
import android.bluetooth.le.ScanResult
import android.bluetooth.le.ScanSettings
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.content.pm.PackageManager
import android.os.Handler
import android.os.ParcelUuid
import java.util.Collections
import java.util.UUID
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import kotlin.concurrent.thread

/** A phone's system: the context of an app, and the Bluetooth behind it. */
open class FakeSystem(val gathers: Boolean = true) : Context() {
    val adapter = FakeAdapter(gathers)
    val manager = FakeManager(adapter)
    val receivers: MutableList<BroadcastReceiver> = CopyOnWriteArrayList()
    var hasPermissions = true

    override fun getSystemService(name: String): Any? = if (name == BLUETOOTH_SERVICE) manager else null

    override fun getApplicationContext(): Context = this

    override fun checkSelfPermission(permission: String): Int =
        if (hasPermissions) PackageManager.PERMISSION_GRANTED else PackageManager.PERMISSION_DENIED

    override fun registerReceiver(receiver: BroadcastReceiver?, filter: IntentFilter): Intent? = null.also { receivers += receiver!! }

    override fun registerReceiver(receiver: BroadcastReceiver?, filter: IntentFilter, flags: Int): Intent? = registerReceiver(receiver, filter)

    override fun unregisterReceiver(receiver: BroadcastReceiver) {
        receivers -= receiver
    }

    /** As a person in the settings. */
    fun switch(isOn: Boolean) {
        adapter.isOn = isOn
        receivers.forEach { it.onReceive(this, StateChanged(if (isOn) BluetoothAdapter.STATE_ON else BluetoothAdapter.STATE_OFF)) }
    }
}

private class StateChanged(private val state: Int) : Intent(BluetoothAdapter.ACTION_STATE_CHANGED) {
    override fun getIntExtra(name: String, defaultValue: Int) = if (name == BluetoothAdapter.EXTRA_STATE) state else defaultValue
}

class FakeManager(private val fakeAdapter: FakeAdapter) : BluetoothManager() {
    var server: FakeServer? = null
    var serverStatus = BluetoothGatt.GATT_SUCCESS

    override fun getAdapter() = fakeAdapter

    override fun openGattServer(context: Context, callback: BluetoothGattServerCallback): BluetoothGattServer =
        FakeServer(callback, serverStatus).also { server = it }
}

class FakeAdapter(private val gathers: Boolean) : BluetoothAdapter() {
    val scanner = FakeScanner()
    val advertiser = FakeAdvertiser()
    @Volatile var isOn = true

    override fun isEnabled() = isOn

    override fun isOffloadedScanBatchingSupported() = gathers

    override fun getBluetoothLeScanner() = scanner.takeIf { isOn }

    override fun getBluetoothLeAdvertiser() = advertiser.takeIf { isOn }
}

class FakeScanner : BluetoothLeScanner() {
    @Volatile var callback: ScanCallback? = null
    var filters: List<ScanFilter> = emptyList()
    var settings: ScanSettings? = null
    @Volatile var starts = 0
    @Volatile var stops = 0

    /** What the controller has gathered. */
    val pending: MutableList<ScanResult> = Collections.synchronizedList(ArrayList())
    @Volatile var surprise: RuntimeException? = null

    /** Where there is one, asking for what was gathered waits for it, though not for ever. */
    @Volatile var gate: CountDownLatch? = null
    @Volatile var isWaiting = false

    override fun startScan(filters: MutableList<ScanFilter>, settings: ScanSettings, callback: ScanCallback) {
        surprise?.let { throw it }
        this.filters = filters
        this.settings = settings
        this.callback = callback
        starts++
    }

    override fun stopScan(callback: ScanCallback) {
        check(callback === this.callback) { "another scan was stopped" }
        this.callback = null
        stops++
    }

    override fun flushPendingScanResults(callback: ScanCallback) {
        isWaiting = true
        gate?.await(10, TimeUnit.SECONDS)
        isWaiting = false
        // On a thread of its own, as Android does.
        thread { callback.onBatchScanResults(synchronized(pending) { pending.toMutableList().also { pending.clear() } }) }
    }
}

class FakeAdvertiser : BluetoothLeAdvertiser() {
    /** `start`, `stop` and `stopped`, in their order. */
    val log: MutableList<String> = CopyOnWriteArrayList()
    @Volatile var callback: AdvertisingSetCallback? = null
    @Volatile var parameters: AdvertisingSetParameters? = null
    @Volatile var data: AdvertiseData? = null

    /** What it says of the next; nothing where there is none. */
    @Volatile var status: Int? = AdvertisingSetCallback.ADVERTISE_SUCCESS
    @Volatile var confirmsStop = true
    @Volatile var surprise: RuntimeException? = null

    override fun startAdvertisingSet(
        parameters: AdvertisingSetParameters, advertiseData: AdvertiseData?, scanResponse: AdvertiseData?,
        periodicParameters: PeriodicAdvertisingParameters?, periodicData: AdvertiseData?, callback: AdvertisingSetCallback, handler: Handler?,
    ) {
        surprise?.let { throw it }
        log += "start"
        this.parameters = parameters
        this.data = advertiseData
        this.callback = callback
        val said = status ?: return
        thread { callback.onAdvertisingSetStarted(null, 0, said) }
    }

    override fun stopAdvertisingSet(callback: AdvertisingSetCallback) {
        log += "stop"
        if (!confirmsStop) return
        thread {
            Thread.sleep(20)
            log += "stopped"
            callback.onAdvertisingSetStopped(null)
        }
    }

    /** The service data that is on the air. */
    fun sent(): ByteArray? = (data?.fake?.get("serviceData") as List<*>?)?.let { (it[0] as List<*>)[1] as ByteArray }

    fun services(): List<ParcelUuid> = (data?.fake?.get("serviceUuid") as List<*>?).orEmpty().map { it as ParcelUuid }
}

class FakeServer(val callback: BluetoothGattServerCallback, private val status: Int) : BluetoothGattServer() {
    val responses: MutableList<Response> = CopyOnWriteArrayList()
    val parted: MutableList<BluetoothDevice> = CopyOnWriteArrayList()
    var service: BluetoothGattService? = null
    @Volatile var isClosed = false

    class Response(val status: Int, val offset: Int, val value: ByteArray?)

    override fun addService(service: BluetoothGattService): Boolean {
        this.service = service
        thread { callback.onServiceAdded(status, service) }
        return true
    }

    override fun sendResponse(device: BluetoothDevice, requestId: Int, status: Int, offset: Int, value: ByteArray?): Boolean {
        responses += Response(status, offset, value)
        return true
    }

    override fun cancelConnection(device: BluetoothDevice) {
        parted += device
    }

    override fun close() {
        isClosed = true
    }

    /** The characteristics of the service: their identifiers, and what may be done with them. */
    fun served(): Map<UUID, Int> = (service!!.fake["characteristic"] as List<*>).associate { characteristic ->
        val fake = (characteristic as BluetoothGattCharacteristic).fake
        fake["uuid"] as UUID to fake["permissions"] as Int
    }
}

/** A device in range: what it does where it is connected to. */
class FakePeer(private val name: String, val serves: Map<UUID, BluetoothGattService> = emptyMap(), val payload: ByteArray = ByteArray(0)) : BluetoothDevice() {
    @Volatile var gatt: FakeGatt? = null

    /** Up to version 12 Android hands a value over inside the characteristic. */
    var isOld = false

    /** How the connection comes about; never, where there is none. */
    var connects: Int? = BluetoothGatt.GATT_SUCCESS
    var readStatus = BluetoothGatt.GATT_SUCCESS

    override fun getAddress() = name

    override fun connectGatt(
        context: Context, autoConnect: Boolean, callback: BluetoothGattCallback, transport: Int, phy: Int, handler: Handler?,
    ): BluetoothGatt = FakeGatt(this, callback).also { made ->
        gatt = made
        val status = connects ?: return@also
        val isConnected = status == BluetoothGatt.GATT_SUCCESS
        thread { callback.onConnectionStateChange(made, status, if (isConnected) BluetoothGatt.STATE_CONNECTED else BluetoothGatt.STATE_DISCONNECTED) }
    }
}

class FakeGatt(private val peer: FakePeer, private val callback: BluetoothGattCallback) : BluetoothGatt() {
    @Volatile var written: ByteArray? = null
    @Volatile var isDisconnected = false
    @Volatile var isClosed = false

    override fun discoverServices(): Boolean {
        thread { callback.onServicesDiscovered(this, GATT_SUCCESS) }
        return true
    }

    override fun getService(uuid: UUID) = peer.serves[uuid]

    override fun readCharacteristic(characteristic: BluetoothGattCharacteristic): Boolean {
        thread {
            if (peer.isOld) {
                characteristic.setValue(peer.payload)
                callback.onCharacteristicRead(this, characteristic, peer.readStatus)
            } else {
                callback.onCharacteristicRead(this, characteristic, peer.payload, peer.readStatus)
            }
        }
        return true
    }

    override fun writeCharacteristic(characteristic: BluetoothGattCharacteristic, value: ByteArray, writeType: Int): Int {
        wrote(characteristic, value)
        return 0
    }

    override fun writeCharacteristic(characteristic: BluetoothGattCharacteristic): Boolean {
        wrote(characteristic, characteristic.value)
        return true
    }

    override fun disconnect() {
        isDisconnected = true
        thread { callback.onConnectionStateChange(this, GATT_SUCCESS, STATE_DISCONNECTED) }
    }

    override fun close() {
        isClosed = true
    }

    private fun wrote(characteristic: BluetoothGattCharacteristic, value: ByteArray) {
        written = value
        thread { callback.onCharacteristicWrite(this, characteristic, GATT_SUCCESS) }
    }
}

/** A service of a peer. */
class FakeService(vararg characteristics: UUID) : BluetoothGattService(null, SERVICE_TYPE_PRIMARY) {
    private val all = characteristics.associateWith { BluetoothGattCharacteristic(it, 0, 0) }

    override fun getCharacteristic(uuid: UUID) = all[uuid]
}

/** A packet of a device, heard at a time of the phone's clock. */
class Packet(private val peer: BluetoothDevice, private val dbm: Int, atMs: Long, private val data: Map<ParcelUuid, ByteArray>, private val shown: List<ParcelUuid>) :
    ScanResult(peer, null, dbm, 0) {
    // The clock since boot stands at 0 here.
    private val stamp = (atMs - System.currentTimeMillis()) * 1_000_000

    override fun getDevice() = peer

    override fun getRssi() = dbm

    override fun isConnectable() = data.isEmpty()

    override fun getTimestampNanos() = stamp

    override fun getScanRecord(): ScanRecord = object : ScanRecord() {
        override fun getServiceData(serviceDataUuid: ParcelUuid) = data[serviceDataUuid]

        override fun getServiceUuids() = shown.toMutableList()
    }
}
