/**
 * The part of AndroidX WorkManager that Vigie uses, by hand: no registry here has its class files. Signatures as in work-runtime 2.10:
 * https://developer.android.com/reference/kotlin/androidx/work/package-summary. To compile against and for tests; not to be shipped.
 */
@file:Suppress("unused", "UNUSED_PARAMETER")

package androidx.work

import android.content.Context
import java.time.Duration
import java.util.concurrent.TimeUnit

open class WorkerParameters

abstract class ListenableWorker(val applicationContext: Context, parameters: WorkerParameters) {
    abstract class Result {
        class Success : Result()

        class Failure : Result()

        class Retry : Result()

        companion object {
            @JvmStatic
            fun success(): Result = Success()

            @JvmStatic
            fun failure(): Result = Failure()

            @JvmStatic
            fun retry(): Result = Retry()
        }
    }
}

abstract class CoroutineWorker(context: Context, parameters: WorkerParameters) : ListenableWorker(context, parameters) {
    abstract suspend fun doWork(): Result
}

enum class NetworkType { NOT_REQUIRED, CONNECTED, UNMETERED, NOT_ROAMING, METERED, TEMPORARILY_UNMETERED }

class Constraints private constructor(val requiredNetworkType: NetworkType) {
    class Builder {
        private var type = NetworkType.NOT_REQUIRED

        fun setRequiredNetworkType(networkType: NetworkType) = apply { type = networkType }

        fun build() = Constraints(type)
    }
}

enum class ExistingPeriodicWorkPolicy { REPLACE, KEEP, UPDATE, CANCEL_AND_REENQUEUE }

class PeriodicWorkRequest private constructor(val worker: Class<out ListenableWorker>, val interval: Duration, val constraints: Constraints?) {
    class Builder(private val worker: Class<out ListenableWorker>, repeatInterval: Long, unit: TimeUnit) {
        private val interval = Duration.ofMillis(unit.toMillis(repeatInterval))
        private var constraints: Constraints? = null

        fun setConstraints(constraints: Constraints) = apply { this.constraints = constraints }

        fun build() = PeriodicWorkRequest(worker, interval, constraints)
    }
}

inline fun <reified W : ListenableWorker> PeriodicWorkRequestBuilder(repeatInterval: Long, unit: TimeUnit): PeriodicWorkRequest.Builder =
    PeriodicWorkRequest.Builder(W::class.java, repeatInterval, unit)

interface Operation

abstract class WorkManager {
    abstract fun enqueueUniquePeriodicWork(uniqueWorkName: String, policy: ExistingPeriodicWorkPolicy, request: PeriodicWorkRequest): Operation

    abstract fun cancelUniqueWork(uniqueWorkName: String): Operation

    companion object {
        @JvmStatic
        fun getInstance(context: Context): WorkManager = error("Stub!")
    }
}
