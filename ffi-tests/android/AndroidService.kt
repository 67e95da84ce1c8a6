/** The service that keeps tracing going, against a system that begins and ends it as Android does. */
package vigie.android.tests

import android.app.Activity
import android.app.Notification
import android.bluetooth.BluetoothAdapter
import android.content.ComponentName
import android.content.Intent
import android.content.SharedPreferences
import android.content.pm.PackageManager
import android.os.Build
import android.os.PowerManager
import androidx.work.ListenableWorker
import androidx.work.WorkerParameters
import java.lang.reflect.Proxy
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.atomic.AtomicInteger
import kotlinx.coroutines.CompletableDeferred
import vigie.Vigie
import vigie.android.BootReceiver
import vigie.android.Permissions
import vigie.android.SyncWorker
import vigie.android.TracingHost
import vigie.android.TracingService
import vigie.ffi.StorageProblem
import vigie.ffi.VigieException

val SERVICE_TESTS = listOf<Pair<String, suspend () -> Unit>>(
    "the service traces with the processor awake, and lets it sleep when tracing has ended" to {
        app { app ->
            check(TracingService.start(app)) { "it did not start" }
            app.deliver()
            until("it sends") { vigie.status().isSending }
            same(listOf(PowerManager.PARTIAL_WAKE_LOCK), app.power.levels)
            check(app.power.isHeld) { "the processor may sleep" }
            TracingService.stop(app)
            app.deliver()
            same(null, app.service)
            until("it is silent") { !vigie.status().isSending }
            until("the processor may sleep") { !app.power.isHeld }
        }
    },
    "a stop before the service has begun ends it, and not the app" to {
        app { app ->
            TracingService.start(app)
            TracingService.stop(app)
            app.deliver()
            same(null, app.service)
            same(0, advertiser.log.size)
            check(!app.power.isHeld) { "the processor stays awake" }
        }
    },
    "a start that comes before a stop is carried out goes on" to {
        app { app ->
            TracingService.start(app)
            app.deliver()
            until("it sends") { vigie.status().isSending }
            TracingService.stop(app)
            TracingService.start(app)
            app.deliver()
            check(app.service != null && app.power.isHeld) { "the stop won" }
        }
    },
    "an instance that ends late does not stop what the next one has started" to {
        app { app ->
            TracingService.start(app)
            app.deliver()
            until("it sends") { vigie.status().isSending }
            val gate = CompletableDeferred<Unit>().also { app.gate = it }
            TracingService.stop(app)
            app.deliver()
            until("the first is about to end") { app.gate == null }
            val asked = app.asked.get()
            TracingService.start(app)
            app.deliver()
            until("the second has the tracer") { app.asked.get() > asked }
            gate.complete(Unit)
            until("it was stopped, and sends again") { "stop" in advertiser.log && advertiser.log.last() == "start" }
            until("it sends") { vigie.status().isSending }
        }
    },
    "a failure that nobody foresees ends no process" to {
        val uncaught = CopyOnWriteArrayList<Throwable>()
        val before = Thread.getDefaultUncaughtExceptionHandler()
        Thread.setDefaultUncaughtExceptionHandler { _, failure -> uncaught += failure }
        app { app ->
            app.surprise = IllegalStateException("closed")
            TracingService.start(app)
            app.deliver()
            until("it was tried") { app.asked.get() == 1 }
            TracingService.stop(app)
            app.deliver()
            until("the processor may sleep") { !app.power.isHeld }
            same(2, app.asked.get())
        }
        Thread.setDefaultUncaughtExceptionHandler(before)
        same(emptyList(), uncaught.toList())
    },
    "begun again by the system without its permissions, the service ends" to {
        app { app ->
            TracingService.start(app)
            app.deliver()
            until("it sends") { vigie.status().isSending }
            app.end()
            check(TracingService.isWanted(app)) { "the system's end was taken for the user's" }
            app.hasPermissions = false
            app.begin(null)
            same(null, app.service)
            until("the processor may sleep") { !app.power.isHeld }
        }
    },
    "after the erasure of everything, nothing begins again by itself" to {
        app { app ->
            TracingService.start(app)
            app.deliver()
            until("it sends") { vigie.status().isSending }
            same(false, TracingService.eraseEverything(app))
            app.deliver()
            until("it is silent") { !vigie.status().isSending }
            app.heard(Intent.ACTION_BOOT_COMPLETED)
            app.heard(BluetoothAdapter.ACTION_STATE_CHANGED)
            same(0, app.commands.size)
        }
    },
    "tracing that is wanted goes on after a start of the phone, and after Bluetooth was switched" to {
        app { app ->
            app.heard(Intent.ACTION_BOOT_COMPLETED)
            same(0, app.commands.size)
            TracingService.start(app)
            app.commands.clear()
            app.heard(Intent.ACTION_BOOT_COMPLETED)
            same(1, app.commands.size)
            app.deliver()
            until("it sends") { vigie.status().isSending }
            system.switch(false)
            same(1, app.commands.size)
            app.deliver()
        }
    },
    "a server that wants patience is not asked sooner, and an app without servers not again" to {
        app { app ->
            val worker = SyncWorker(app, WorkerParameters())
            check(worker.doWork() is ListenableWorker.Result.Failure) { "there are no servers" }
            app.surprise = VigieException.RetryAfter(30UL)
            check(worker.doWork() is ListenableWorker.Result.Success) { "it is asked sooner" }
            app.surprise = VigieException.Storage(StorageProblem.FULL)
            check(worker.doWork() is ListenableWorker.Result.Retry) { "it is given up" }
        }
    },
    "nobody is asked for nothing" to {
        Build.VERSION.SDK_INT = OLD
        val activity = FakeActivity()
        Permissions.request(activity, 1)
        same(1, activity.requests.single().size)
        activity.allows = true
        Permissions.request(activity, 1)
        same(1, activity.requests.size)
    },
)

/** A phone with an app; whatever the test leaves running ends. */
private suspend fun app(use: suspend Phone.(App) -> Unit) {
    val app = App()
    phone(app) {
        app.tracer = vigie
        use(app)
        app.surprise = null
        TracingService.stop(app)
        app.deliver()
        until("the service has ended") { !app.power.isHeld && !vigie.status().isSending }
    }
}

/** An app that traces, and the system that begins and ends its service. */
private class App : FakeSystem(), TracingHost {
    val power = FakePower()
    val commands: MutableList<Command> = CopyOnWriteArrayList()
    @Volatile var tracer: Vigie? = null
    @Volatile var service: TracingService? = null

    /** What the next one who asks for the tracer waits for, and what each one gets instead. */
    @Volatile var gate: CompletableDeferred<Unit>? = null
    @Volatile var surprise: Exception? = null
    val asked = AtomicInteger()
    private val preferences = FakePreferences()
    private var lastId = 0

    class Command(val id: Int, val isForeground: Boolean, val intent: Intent?)

    override suspend fun tracer(): Vigie {
        asked.incrementAndGet()
        surprise?.let { throw it }
        gate?.let { gate = null; it.await() }
        return tracer!!
    }

    override fun tracingNotification() = Notification()

    override fun getSystemService(name: String): Any? = if (name == POWER_SERVICE) power else super.getSystemService(name)

    override fun getSharedPreferences(name: String, mode: Int): SharedPreferences = preferences

    override fun startForegroundService(service: Intent): ComponentName = started(true, service)

    override fun startService(service: Intent): ComponentName = started(false, service)

    override fun stopService(name: Intent): Boolean = error("a service whose start is under way takes the app along")

    private fun started(isForeground: Boolean, intent: Intent): ComponentName {
        commands += Command(++lastId, isForeground, intent)
        return ComponentName()
    }

    /** As the main thread does when it comes to it. */
    fun deliver() {
        while (commands.isNotEmpty()) run(commands.removeAt(0))
    }

    /** As after a process that the system has ended. */
    fun begin(intent: Intent?) = run(Command(++lastId, false, intent))

    fun end() {
        service?.onDestroy()
        service = null
    }

    fun heard(action: String) = BootReceiver().onReceive(this, Intent(action))

    private fun run(command: Command) {
        val service = this.service ?: TracingService().also {
            it.attachBaseContext(this)
            it.onCreate()
            this.service = it
        }
        val shown = service.count("startForeground")
        service.onStartCommand(command.intent, 0, command.id)
        check(!command.isForeground || service.count("startForeground") > shown) { "the system ends an app that does not show its service" }
        val stops = (service.fake["stopSelf"] as List<*>?).orEmpty()
        check(stops.all { it is Int }) { "it stops itself whatever is under way, which takes the app along" }
        // Android, too, counts what was asked for and is not delivered yet.
        if (stops.lastOrNull() == lastId) end()
    }

    private fun TracingService.count(call: String) = (fake[call] as List<*>?).orEmpty().size
}

private class FakePreferences : SharedPreferences by unknown() {
    private val values = ConcurrentHashMap<String, Boolean>()

    override fun getBoolean(key: String, otherwise: Boolean) = values[key] ?: otherwise

    override fun edit() = object : SharedPreferences.Editor by unknown() {
        override fun putBoolean(key: String, value: Boolean) = this.also { values[key] = value }

        override fun apply() = Unit
    }
}

/** Something that can do nothing. */
private inline fun <reified T> unknown(): T =
    Proxy.newProxyInstance(T::class.java.classLoader, arrayOf(T::class.java)) { _, method, _ -> error("${method.name} is not faked") } as T

private class FakePower : PowerManager() {
    val levels: MutableList<Int> = CopyOnWriteArrayList()
    private val locks: MutableList<Lock> = CopyOnWriteArrayList()
    val isHeld get() = locks.any { it.isOn }

    override fun newWakeLock(levelAndFlags: Int, tag: String): WakeLock {
        levels += levelAndFlags
        return Lock().also { locks += it }
    }

    private class Lock : WakeLock() {
        @Volatile var isOn = false

        override fun acquire() {
            check(fake["referenceCounted"] == false) { "each acquisition would want a release of its own" }
            isOn = true
        }

        override fun release() {
            isOn = false
        }
    }
}

private class FakeActivity : Activity() {
    val requests = ArrayList<List<String>>()
    var allows = false

    override fun checkSelfPermission(permission: String) = if (allows) PackageManager.PERMISSION_GRANTED else PackageManager.PERMISSION_DENIED

    override fun requestPermissions(permissions: Array<String>, requestCode: Int) {
        require(permissions.isNotEmpty()) { "permission cannot be null or empty" }
        requests += permissions.toList()
    }
}
