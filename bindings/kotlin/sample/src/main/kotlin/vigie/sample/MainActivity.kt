package vigie.sample

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import vigie.android.Permissions
import vigie.android.TracingService
import vigie.ffi.RadioProblem
import vigie.ffi.Status
import vigie.ffi.VigieException

private const val ASKED = 1

class MainActivity : Activity() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Main)
    private lateinit var text: TextView
    private lateinit var button: Button
    private var watching: Job? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        text = TextView(this)
        button = Button(this)
        button.setOnClickListener { toggle() }
        setContentView(LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            addView(text)
            addView(button)
        })
    }

    override fun onStart() {
        super.onStart()
        watching = scope.launch { while (true) { show(); delay(2.seconds) } }
    }

    override fun onStop() {
        watching?.cancel()
        super.onStop()
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }

    override fun onRequestPermissionsResult(requestCode: Int, permissions: Array<out String>, grantResults: IntArray) {
        super.onRequestPermissionsResult(requestCode, permissions, grantResults)
        if (requestCode != ASKED || !TracingService.start(this)) return
        val inBackground = Permissions.neededInBackground()
        if (inBackground.isNotEmpty()) requestPermissions(inBackground.toTypedArray(), ASKED + 1)
    }

    private fun toggle() = when {
        TracingService.isWanted(this) -> TracingService.stop(this)
        Permissions.missing(this).isNotEmpty() -> Permissions.request(this, ASKED)
        else -> TracingService.start(this).let { }
    }

    private suspend fun show() {
        button.text = if (TracingService.isWanted(this)) "Stop" else "Start"
        text.text = try {
            words((application as SampleApp).tracer().status())
        } catch (error: VigieException) {
            error.message
        }
    }

    private fun words(status: Status): String = buildString {
        appendLine(if (status.isSending) "On the air" else "Silent")
        appendLine("Encounters today: ${status.encountersToday}, in all: ${status.encounters}")
        appendLine(if (status.openAlerts > 0u) "You were near somebody who tested positive." else "No alert")
        appendLine(
            when (status.radioProblem) {
                null -> if (Permissions.locationIsOff(this@MainActivity)) "Switch location on: this version of Android wants it." else ""
                RadioProblem.PermissionNeeded -> "Allow nearby devices."
                RadioProblem.PoweredOff -> "Switch Bluetooth on."
                RadioProblem.Unsupported -> "This phone cannot do this."
                is RadioProblem.Failed -> "Bluetooth fails; it is tried again."
            },
        )
    }
}
