/**
 * The phone's Bluetooth, as the library wants it.
 *
 * ```text
 * library's threads -> BleRadio -> Scanning, Advertising (with GattServer), GattClient -> Android
 *                                       Android's threads -> Outlet -> RadioSink
 * ```
 *
 * Whatever fails is a [RadioProblem], and the library begins it anew; nothing is repaired here.
 */
package vigie.android

import android.bluetooth.BluetoothAdapter
import android.bluetooth.BluetoothManager
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.Build
import android.os.Handler
import android.os.HandlerThread
import java.util.concurrent.Executors
import java.util.concurrent.ScheduledExecutorService
import vigie.ffi.Advertisement
import vigie.ffi.Radio
import vigie.ffi.RadioException
import vigie.ffi.RadioProblem
import vigie.ffi.RadioSink

/** How this phone says who it is. */
enum class Form {
    /** The frame stands in the advertisement, as service data, and nobody can connect. */
    FRAME,

    /** The advertisement shows the service alone, and the frame is read over GATT, as from phones that cannot send service data. */
    CONNECTABLE,
}

/**
 * Android's Bluetooth Low Energy. Ask for [Permissions] before; without them each call throws [RadioProblem.PermissionNeeded], and the library tries again.
 * One tracer at a time holds it.
 */
class BleRadio @JvmOverloads constructor(context: Context, private val form: Form = Form.FRAME) : Radio {
    // A screen's would be kept with the screen.
    private val context = context.applicationContext
    @Volatile private var parts: Parts? = null

    override fun attach(sink: RadioSink) {
        parts = Parts(context, form, Outlet(sink))
    }

    override fun detach() {
        parts?.end()
        parts = null
    }

    override fun startScanning(services: List<UShort>) = attached { scanning.start(services) }

    override fun stopScanning() = quietly { parts?.scanning?.stop() }

    override fun advertise(advertisement: Advertisement) = attached { advertising.start(advertisement) }

    override fun stopAdvertising() = quietly { parts?.advertising?.stop() }

    override fun exchange(peer: String, service: UShort, writeBack: ByteArray): ByteArray =
        attached { client.exchange(peer, service, writeBack) }

    /** What the system throws is a problem of the radio, too. */
    private fun <T> attached(call: Parts.() -> T): T {
        val parts = parts ?: throw failed(RadioProblem.Failed(0))
        return try {
            if (Permissions.missing(context).isNotEmpty()) throw failed(RadioProblem.PermissionNeeded)
            parts.call()
        } catch (_: SecurityException) {
            throw failed(RadioProblem.PermissionNeeded)
        } catch (_: RuntimeException) {
            // Android's Bluetooth says so of an adapter that goes off meanwhile.
            parts.adapter.powered()
            throw failed(RadioProblem.Failed(0))
        }
    }
}

/** All that is held between `attach` and `detach`. */
private class Parts(private val context: Context, form: Form, private val outlet: Outlet) {
    private val thread = HandlerThread("vigie-ble").apply { start() }
    private val timer: ScheduledExecutorService =
        Executors.newSingleThreadScheduledExecutor { work -> Thread(work, "vigie-ble-timer").apply { isDaemon = true } }
    val adapter = Adapter(context)
    private val peers = Peers()
    val scanning = Scanning(adapter, outlet, peers, timer)
    private val server = if (form == Form.CONNECTABLE) GattServer(context, adapter, outlet) else null
    val advertising: Advertising
    val client: GattClient
    private val power: PowerReceiver

    init {
        val handler = Handler(thread.looper)
        advertising = Advertising(adapter, outlet, server, handler)
        client = GattClient(context, adapter, peers, handler)
        power = PowerReceiver {
            // Not on the main thread, which is told: a scan that is ending is waited for. Nothing is left to be done where the timer has ended.
            quietly { timer.execute(::poweredOff) }
        }
        quietly { context.listen(power, BluetoothAdapter.ACTION_STATE_CHANGED) }
    }

    private fun poweredOff() {
        scanning.poweredOff()
        advertising.poweredOff()
    }

    fun end() {
        quietly { context.unregisterReceiver(power) }
        client.end()
        quietly { scanning.stop() }
        quietly { advertising.stop() }
        quietly { server?.close() }
        timer.shutdownNow()
        thread.quitSafely()
        outlet.close()
    }
}

/** The adapter, as it is at this moment. */
internal class Adapter(context: Context) {
    val manager = context.getSystemService(Context.BLUETOOTH_SERVICE) as BluetoothManager?

    /** The adapter, where it is on. */
    fun powered(): BluetoothAdapter {
        val adapter: BluetoothAdapter = manager?.adapter ?: throw failed(RadioProblem.Unsupported)
        if (!adapter.isEnabled) throw failed(RadioProblem.PoweredOff)
        return adapter
    }

    /** Whether nothing can go on. */
    fun isOff(): Boolean = manager?.adapter?.isEnabled != true
}

/** Android ends scans and advertisements of an adapter that is switched off, and says so to nobody else. */
private class PowerReceiver(private val onOff: () -> Unit) : BroadcastReceiver() {
    override fun onReceive(context: Context, intent: Intent) {
        val state = intent.getIntExtra(BluetoothAdapter.EXTRA_STATE, BluetoothAdapter.ERROR)
        if (state == BluetoothAdapter.STATE_TURNING_OFF || state == BluetoothAdapter.STATE_OFF) onOff()
    }
}

/**
 * Registers for a broadcast that only the system can send. "Exported", because it comes from the Bluetooth process, which is another one:
 * https://developer.android.com/develop/background-work/background-tasks/broadcasts#receiving-broadcasts
 */
internal fun Context.listen(receiver: BroadcastReceiver, vararg actions: String) {
    val filter = IntentFilter().apply { actions.forEach(::addAction) }
    if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
        registerReceiver(receiver, filter, Context.RECEIVER_EXPORTED)
    } else {
        registerReceiver(receiver, filter)
    }
}

internal fun failed(problem: RadioProblem) = RadioException.Problem(problem)

/** For what ends something: an adapter that is off or forbidden has ended it already. */
internal inline fun quietly(end: () -> Unit) {
    try {
        end()
    } catch (_: RuntimeException) {
        // There is nothing left to end.
    }
}
