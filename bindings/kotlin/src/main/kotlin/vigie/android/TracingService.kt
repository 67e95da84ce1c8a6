package vigie.android

import android.annotation.SuppressLint
import android.app.Notification
import android.app.Service
import android.bluetooth.BluetoothAdapter
import android.content.Context
import android.content.Intent
import android.content.SharedPreferences
import android.content.pm.ServiceInfo
import android.os.Build
import android.os.IBinder
import android.os.PowerManager
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CancellationException
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

/** Between two attempts to start, where no time is named. */
private const val RETRY_S = 60L

/**
 * Keeps the app's process, and with it the radio, for as long as tracing is wanted: a foreground service of the type `connectedDevice`.
 * https://developer.android.com/develop/background-work/services/fgs/service-types#connected-device
 *
 * It keeps the processor awake, too: the library waits on a clock that stands while the phone sleeps, and would neither listen nor change its identifier
 * in time. https://developer.android.com/develop/background-work/background-tasks/awake/wakelock
 *
 * The app's `Application` must be a [TracingHost].
 */
class TracingService : Service() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private val receiver = BootReceiver()
    private val wakeLock: PowerManager.WakeLock? by lazy {
        val power = getSystemService(Context.POWER_SERVICE) as PowerManager?
        power?.newWakeLock(PowerManager.PARTIAL_WAKE_LOCK, "vigie:tracing")?.apply { setReferenceCounted(false) }
    }
    private var beginning: Job? = null

    override fun onBind(intent: Intent?): IBinder? = null

    override fun onCreate() {
        super.onCreate()
        // Is not told to receivers of a manifest.
        listen(receiver, BluetoothAdapter.ACTION_STATE_CHANGED)
    }

    // As long as tracing is wanted, which no time limits.
    @SuppressLint("WakelockTimeout")
    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        val host = tracingHost
        // First of all, whatever comes of it: the system ends an app that owes it a notification.
        val isShown = host != null && show(host.tracingNotification())
        if (host == null || !isShown || !isWanted(this) || Permissions.missing(this).isNotEmpty()) {
            // Unless another start is under way: that one decides anew.
            stopSelf(startId)
            return START_NOT_STICKY
        }
        wakeLock?.acquire()
        if (beginning?.isActive != true) beginning = scope.launch { trace(host) }
        return START_STICKY
    }

    override fun onDestroy() {
        quietly { unregisterReceiver(receiver) }
        beginning?.cancel()
        scope.launch {
            try {
                tracingHost?.let { end(it) }
            } finally {
                quietly { wakeLock?.release() }
                scope.cancel()
            }
        }
        super.onDestroy()
    }

    /** Starts what is not started, and has the library look at once what is due. */
    private suspend fun trace(host: TracingHost) {
        while (isWanted(this)) {
            val wait = try {
                val tracer = host.tracer()
                tracer.start()
                return tracer.wake()
            } catch (end: CancellationException) {
                throw end
            } catch (error: Exception) {
                // Also what is not foreseen: the process goes on, and so does the attempt.
                waitAfter(error) ?: return
            }
            delay(wait.seconds)
        }
    }

    /** Ends tracing that is wanted no more. */
    private suspend fun end(host: TracingHost) {
        if (isWanted(this)) return
        try {
            host.tracer().stop()
        } catch (end: CancellationException) {
            throw end
        } catch (_: Exception) {
            // The radio is silent all the same, and what was heard is kept by the next step.
        }
        // Meanwhile it may be wanted again, and what another instance has started is what was stopped.
        trace(host)
    }

    /** Seconds; none where the library tries again by itself. */
    private fun waitAfter(error: Exception): Long? = when {
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

    companion object {
        private const val WANTED = "is_wanted"

        /** Begins to trace, and goes on after each start of the phone. `false` where [Permissions] are missing: ask for them first. Idempotent. */
        fun start(context: Context): Boolean {
            hostOf(context)
            if (Permissions.missing(context).isNotEmpty()) return false
            settings(context).edit().putBoolean(WANTED, true).apply()
            return resume(context)
        }

        /** Ends tracing. Not `tracer().stop()`, after which the next start of the phone, or of its Bluetooth, would begin again. */
        fun stop(context: Context) {
            if (!isWanted(context)) return
            settings(context).edit().putBoolean(WANTED, false).apply()
            try {
                // The service ends itself: ended from outside while a start is under way, it would take the app along.
                context.startService(Intent(context, TracingService::class.java))
            } catch (_: IllegalStateException) {
                // The app is in the background, and without a foreground service: nothing runs.
            }
        }

        /** Ends tracing, and deletes everything: `tracer().eraseEverything()`, with its result, after which nothing begins again by itself. */
        suspend fun eraseEverything(context: Context): Boolean {
            val host = hostOf(context)
            stop(context)
            return host.tracer().eraseEverything()
        }

        /** Whether tracing is wanted. */
        fun isWanted(context: Context): Boolean = settings(context).getBoolean(WANTED, false)

        /** Starts the service where it is wanted and allowed, or wakes the one that runs. */
        internal fun resume(context: Context): Boolean {
            // Started without them, the service could not show itself, and the system would end the app.
            val canShow = context.tracingHost != null && Permissions.missing(context).isEmpty()
            if (!canShow || !isWanted(context)) return false
            return try {
                context.startForegroundService(Intent(context, TracingService::class.java)) != null
            } catch (_: IllegalStateException) {
                false
            }
        }

        /** An app without one is not finished. */
        private fun hostOf(context: Context): TracingHost =
            checkNotNull(context.tracingHost) { "the app's Application has to be a TracingHost, and to be named in its manifest" }

        /** Says nothing but whether tracing is wanted. */
        private fun settings(context: Context): SharedPreferences = context.getSharedPreferences("vigie", Context.MODE_PRIVATE)
    }
}
