package vigie.android

import android.app.Notification
import android.content.Context
import java.io.File
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import vigie.Vigie
import vigie.ffi.Config

/** What an app's `Application` implements, because the system may begin at a service, a worker or a receiver instead of a screen. */
interface TracingHost {
    /** The app's one tracer: keep an [OneTracer]. */
    suspend fun tracer(): Vigie

    /** What the user sees for as long as tracing runs. */
    fun tracingNotification(): Notification
}

/** Opens a tracer once, however many parts of an app ask for it; where that fails, the next one tries again. */
class OneTracer(private val open: suspend () -> Vigie) {
    private val mutex = Mutex()
    private var tracer: Vigie? = null

    /** The tracer. */
    suspend fun get(): Vigie = mutex.withLock { tracer ?: open().also { tracer = it } }

    /** Shuts it down; the next [get] opens another one. */
    suspend fun close() = mutex.withLock {
        tracer?.shutDown()
        tracer?.close()
        tracer = null
    }
}

/**
 * A configuration whose store lies where Android never backs up and never transfers to another phone, and whose downloads lie where it may clear:
 * https://developer.android.com/reference/android/content/Context#getNoBackupFilesDir()
 */
fun tracingConfig(context: Context, serversJson: String? = null): Config {
    val folder = File(context.noBackupFilesDir, "vigie").apply { mkdirs() }
    return Config(
        storePath = File(folder, "store.db").path,
        downloadsPath = File(context.cacheDir, "vigie").path,
        serversJson = serversJson,
    )
}

internal val Context.tracingHost: TracingHost?
    get() = applicationContext as? TracingHost
