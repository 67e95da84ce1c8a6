package vigie.android

import android.Manifest
import android.app.Activity
import android.content.Context
import android.content.pm.PackageManager
import android.location.LocationManager
import android.os.Build

/**
 * What the user has to allow.
 *
 * | Android | permissions |
 * | --- | --- |
 * | 12 and newer | to find devices nearby (declared `neverForLocation`), to be found, to connect |
 * | 10 and 11 | location, "all the time", and location switched on: the system's rule for every Bluetooth scan |
 * | 8 and 9 | location, and location switched on |
 *
 * https://developer.android.com/develop/connectivity/bluetooth/bt-permissions
 */
object Permissions {
    /** What tracing needs on this phone. */
    fun needed(): List<String> = when {
        Build.VERSION.SDK_INT >= Build.VERSION_CODES.S ->
            listOf(Manifest.permission.BLUETOOTH_SCAN, Manifest.permission.BLUETOOTH_ADVERTISE, Manifest.permission.BLUETOOTH_CONNECT)
        else -> listOf(Manifest.permission.ACCESS_FINE_LOCATION)
    }

    /** What is to be asked for afterwards, by itself, as Android 11 wants it: without it nothing is heard while no screen of the app is open. */
    fun neededInBackground(): List<String> = when (Build.VERSION.SDK_INT) {
        Build.VERSION_CODES.Q, Build.VERSION_CODES.R -> listOf(Manifest.permission.ACCESS_BACKGROUND_LOCATION)
        else -> emptyList()
    }

    /** What would make notifications visible; tracing does not need it. */
    fun neededForNotifications(): List<String> =
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) listOf(Manifest.permission.POST_NOTIFICATIONS) else emptyList()

    /** What tracing needs and the user has not allowed. */
    fun missing(context: Context): List<String> = needed().filterNot { isAllowed(context, it) }

    /** Asks for all that is missing, at once; `onRequestPermissionsResult` of the activity has the answer. Where nothing is missing, nothing happens. */
    fun request(activity: Activity, requestCode: Int) {
        val asked = (needed() + neededForNotifications()).filterNot { isAllowed(activity, it) }
        // Android takes no empty list.
        if (asked.isNotEmpty()) activity.requestPermissions(asked.toTypedArray(), requestCode)
    }

    /** Whether location has to be switched on, in the system's settings: until Android 11 nothing is heard without, and the system says so to no app that scans. */
    fun locationIsOff(context: Context): Boolean {
        // Before Android 9 it cannot be asked without the settings' older words.
        if (Build.VERSION.SDK_INT !in Build.VERSION_CODES.P..Build.VERSION_CODES.R) return false
        val location = context.getSystemService(Context.LOCATION_SERVICE) as LocationManager?
        return location?.isLocationEnabled == false
    }

    private fun isAllowed(context: Context, permission: String): Boolean =
        context.checkSelfPermission(permission) == PackageManager.PERMISSION_GRANTED
}
