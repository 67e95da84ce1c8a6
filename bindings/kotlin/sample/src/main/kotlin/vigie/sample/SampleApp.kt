/** An app of one screen: whether this phone traces, what it has met, and what to do where it cannot. */
package vigie.sample

import android.app.Application
import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import vigie.HttpTransport
import vigie.Vigie
import vigie.android.BleRadio
import vigie.android.KeystoreVault
import vigie.android.OneTracer
import vigie.android.SyncWorker
import vigie.android.TracingHost
import vigie.android.tracingConfig

private const val CHANNEL = "tracing"

class SampleApp : Application(), TracingHost {
    private val one = OneTracer {
        // The health authority's description of its servers; without it the phone traces, and asks nobody.
        val servers = assets.list("")?.find { it == "client.json" }?.let { name -> assets.open(name).bufferedReader().use { it.readText() } }
        Vigie.open(tracingConfig(this, servers), BleRadio(this), HttpTransport(), KeystoreVault(this))
    }

    override suspend fun tracer(): Vigie = one.get()

    override fun tracingNotification(): Notification {
        val channel = NotificationChannel(CHANNEL, "Tracing", NotificationManager.IMPORTANCE_LOW)
        getSystemService(NotificationManager::class.java).createNotificationChannel(channel)
        return Notification.Builder(this, CHANNEL)
            .setContentTitle("Tracing is on")
            .setSmallIcon(android.R.drawable.stat_sys_data_bluetooth)
            .build()
    }

    override fun onCreate() {
        super.onCreate()
        SyncWorker.schedule(this)
    }
}
