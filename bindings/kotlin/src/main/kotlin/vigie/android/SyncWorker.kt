package vigie.android

import android.content.Context
import androidx.work.Constraints
import androidx.work.CoroutineWorker
import androidx.work.ExistingPeriodicWorkPolicy
import androidx.work.NetworkType
import androidx.work.PeriodicWorkRequestBuilder
import androidx.work.WorkManager
import androidx.work.WorkerParameters
import java.util.concurrent.TimeUnit
import vigie.ffi.VigieException

/**
 * Has the library look what is due with the servers while no part of the app runs: `sync` that nobody waits for, at this device's own moments, so that not
 * all phones ask when Android wakes them. It ends when the system wants it to. What was kept before stays kept.
 * https://developer.android.com/develop/background-work/background-tasks/persistent
 */
class SyncWorker(context: Context, parameters: WorkerParameters) : CoroutineWorker(context, parameters) {
    override suspend fun doWork(): Result {
        val host = applicationContext.tracingHost ?: return Result.failure()
        return try {
            // Ends with this coroutine, which the system cancels.
            host.tracer().sync(isAwaited = false)
            Result.success()
        } catch (_: VigieException.InputInvalid) {
            // There are no servers, and there will be none before the app is another one.
            Result.failure()
        } catch (_: VigieException.RetryAfter) {
            // A server wants patience; what waits goes at the next period, and not sooner because it failed.
            Result.success()
        } catch (_: VigieException) {
            Result.retry()
        }
    }

    companion object {
        private const val NAME = "vigie-sync"

        /** Looks every four hours, where there is a network; calling it again changes nothing. */
        fun schedule(context: Context) {
            val constraints = Constraints.Builder().setRequiredNetworkType(NetworkType.CONNECTED).build()
            val request = PeriodicWorkRequestBuilder<SyncWorker>(4, TimeUnit.HOURS).setConstraints(constraints).build()
            WorkManager.getInstance(context).enqueueUniquePeriodicWork(NAME, ExistingPeriodicWorkPolicy.KEEP, request)
        }

        /** No more. */
        fun cancel(context: Context) {
            WorkManager.getInstance(context).cancelUniqueWork(NAME)
        }
    }
}
