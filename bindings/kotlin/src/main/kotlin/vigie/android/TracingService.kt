package vigie.android

import android.app.Notification
import android.app.Service
import android.bluetooth.BluetoothAdapter
import android.content.Context
import android.content.Intent
import android.content.SharedPreferences
import android.content.pm.ServiceInfo
import android.os.Build
import android.os.IBinder
import android.os.UserManager
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import vigie.ffi.Permission
import vigie.ffi.VigieException

private const val NOTIFICATION = 0x7691E

/** Between two attempts to open the store, where no time is named. */
private const val RETRY_S = 60L

/**
 * Keeps the app's process, and with it the radio, for as long as tracing is wanted: a foreground service of the type `connectedDevice`.
 * https://developer.android.com/develop/background-work/services/fgs/service-types#connected-device
 *
 * The app's `Application` must be a [TracingHost].
 */
class TracingService : Service() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private val receiver = BootReceiver()
    private var beginning: Job? = null

    override fun onBind(intent: Intent?): IBinder? = null

    override fun onCreate() {
        super.onCreate()
        // Neither is told to receivers of a manifest.
        listen(receiver, BluetoothAdapter.ACTION_STATE_CHANGED, Intent.ACTION_USER_UNLOCKED)
    }

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        val host = tracingHost
        if (host == null || !isWanted(this) || !show(host.tracingNotification())) {
            stopSelf()
            return START_NOT_STICKY
        }
        if (beginning?.isActive != true && isUnlocked()) beginning = scope.launch { trace(host) }
        return START_STICKY
    }

    override fun onDestroy() {
        quietly { unregisterReceiver(receiver) }
        beginning?.cancel()
        val host = tracingHost
        scope.launch {
            try {
                if (!isWanted(this@TracingService)) host?.tracer()?.stop()
            } catch (_: VigieException) {
                // The radio is silent all the same, and what was heard is kept by the next step.
            }
            scope.cancel()
        }
        super.onDestroy()
    }

    /** Starts what is not started, and has the library look at once what is due. */
    private suspend fun trace(host: TracingHost) {
        while (true) {
            val wait = try {
                val tracer = host.tracer()
                tracer.start()
                return tracer.wake()
            } catch (error: VigieException) {
                waitAfter(error) ?: return
            }
            delay(wait.seconds)
        }
    }

    /** Seconds; none where the library tries again by itself. */
    private fun waitAfter(error: VigieException): Long? = when {
        error is VigieException.AdapterUnavailable -> null
        error is VigieException.PermissionNeeded && error.permission == Permission.BLUETOOTH -> null
        error is VigieException.RetryAfter -> error.seconds.toLong()
        else -> RETRY_S
    }

    /** Whether the system lets it run. */
    private fun show(notification: Notification): Boolean = try {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
            startForeground(NOTIFICATION, notification, ServiceInfo.FOREGROUND_SERVICE_TYPE_CONNECTED_DEVICE)
        } else {
            startForeground(NOTIFICATION, notification)
        }
        true
    } catch (_: SecurityException) {
        // From Android 14 on: a permission was taken back.
        false
    } catch (_: IllegalStateException) {
        // From Android 12 on: not from the background, where the system was not asked by one of the broadcasts that are allowed to.
        false
    }

    /** Before the first unlock the store cannot be read; then [Intent.ACTION_USER_UNLOCKED] comes. */
    private fun isUnlocked(): Boolean = (getSystemService(Context.USER_SERVICE) as UserManager?)?.isUserUnlocked != false

    companion object {
        private const val WANTED = "is_wanted"

        /** Begins to trace, and goes on after each start of the phone. `false` where [Permissions] are missing: ask for them first. Idempotent. */
        fun start(context: Context): Boolean {
            if (Permissions.missing(context).isNotEmpty()) return false
            settings(context).edit().putBoolean(WANTED, true).apply()
            return resume(context)
        }

        /** Ends tracing. */
        fun stop(context: Context) {
            settings(context).edit().putBoolean(WANTED, false).apply()
            context.stopService(Intent(context, TracingService::class.java))
        }

        /** Whether tracing is wanted. */
        fun isWanted(context: Context): Boolean = settings(context).getBoolean(WANTED, false)

        /** Starts the service where it is wanted and allowed, or wakes the one that runs. */
        internal fun resume(context: Context): Boolean {
            // Started without them, the service could not show itself, and the system would end the app.
            if (!isWanted(context) || Permissions.missing(context).isNotEmpty()) return false
            return try {
                context.startForegroundService(Intent(context, TracingService::class.java)) != null
            } catch (_: IllegalStateException) {
                false
            }
        }

        /** Readable before the first unlock; says nothing but whether tracing is wanted. */
        private fun settings(context: Context): SharedPreferences =
            context.createDeviceProtectedStorageContext().getSharedPreferences("vigie", Context.MODE_PRIVATE)
    }
}
