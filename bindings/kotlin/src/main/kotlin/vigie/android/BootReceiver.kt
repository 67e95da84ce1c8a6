package vigie.android

import android.bluetooth.BluetoothAdapter
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent

/**
 * Goes on with tracing after the first unlock of a phone that was started or an update of the app, and has the library look at once what is due where the clock was set or
 * Bluetooth was switched: [TracingService] wakes it.
 *
 * All of these may start a foreground service from the background:
 * https://developer.android.com/develop/background-work/services/fgs/restrictions-bg-start#background-start-restriction-exemptions
 */
class BootReceiver : BroadcastReceiver() {
    override fun onReceive(context: Context, intent: Intent) {
        if (intent.action in HEARD) TracingService.resume(context)
    }

    private companion object {
        val HEARD = setOf(
            Intent.ACTION_BOOT_COMPLETED,
            Intent.ACTION_MY_PACKAGE_REPLACED,
            Intent.ACTION_TIME_CHANGED,
            Intent.ACTION_TIMEZONE_CHANGED,
            BluetoothAdapter.ACTION_STATE_CHANGED,
        )
    }
}
