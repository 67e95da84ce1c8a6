/** Lives through the scenario: ffi-tests/README.md explains its steps. */
package vigie.tests

import java.io.File
import java.net.HttpURLConnection
import java.net.URL
import kotlin.system.exitProcess
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import vigie.ffi.Event
import vigie.ffi.RadioProblem
import vigie.ffi.ReportDetails
import vigie.ffi.ReportState
import vigie.ffi.RiskLevel
import vigie.ffi.StorageProblem
import vigie.ffi.VigieException

private const val MINUTE_MS = 60_000L
private const val HOUR_MS = 60 * MINUTE_MS
private const val STEP_MS = 5 * MINUTE_MS

/** A scan lasts for 4 s. */
private const val SCAN_MS = 5_000L

/** A radio that has failed is tried again after 5 s. */
private const val RETRY_MS = 6_000L

fun main() = runBlocking(Dispatchers.Default) {
    val scenes = mutableListOf<Pair<String, MutableList<String>>>()
    for (line in File(System.getenv("VIGIE_SCENARIO")).readLines().map { it.substringBefore('#').trim() }) {
        if (line.startsWith("scene ")) scenes += Pair(line.removePrefix("scene "), mutableListOf())
        else if (line.isNotEmpty()) scenes.last().second += line
    }
    for ((number, scene) in scenes.withIndex()) {
        val (name, lines) = scene
        val folder = File(System.getenv("VIGIE_FOLDER"), "scene-$number").apply { mkdirs() }
        val world = World(this, folder)
        for (line in lines) {
            try {
                world.step(line.split(' '))
            } catch (failure: Throwable) {
                println("scene $name: `$line` failed: $failure")
                failure.printStackTrace(System.out)
                exitProcess(1)
            }
        }
        world.end()
        nothingIsHeld()
        println("scene $name ok")
    }
    check(scenes.isNotEmpty())
    println("${scenes.size} scenes")
}

/** The phones of a scene, and the servers around them. */
private class World(private val scope: CoroutineScope, private val folder: File) {
    private val phones = linkedMapOf<String, Phone>()
    private val vaults = mutableMapOf<String, MemoryVault>()

    suspend fun step(words: List<String>) {
        val (first, second) = Pair(words[0], words.getOrElse(1) { "" })
        when (first) {
            "phone" -> open(second, words.drop(2))
            "start" -> {
                val phone = phone(second)
                val failure = phone.attempt { start() }
                phone.isRunning = true
                // `start NAME`, or `start NAME fails ERROR`
                same(words.drop(3).joinToString(" "), name(failure))
            }
            "stop" -> phone(second).run { isRunning = false; same(null, attempt { stop() }) }
            "together" -> repeat((second.toLong() * MINUTE_MS / STEP_MS).toInt()) { together() }
            "apart" -> repeat(second.toInt()) { passes(HOUR_MS) }
            "report" -> phone(second).run { report = vigie.report(control("POST", "/code"), ReportDetails()) }
            "sync" -> same(words.drop(3).joinToString(" "), name(phone(second).attempt { sync() }))
            "backend" -> control("POST", mapOf("publishes" to "/publish", "down" to "/down", "up" to "/up").getValue(second))
            "radio" -> radio(phone(second), words[2])
            "disk" -> phone(second).run { control("POST", "/disk?folder=${folder.path}&full=${words[2] == "full"}") }
            "reopen" -> reopen(second, words.drop(2))
            "erase" -> phone(second).run { vigie.eraseEverything(); isRunning = false }
            else -> expect(phone(first), words.drop(1))
        }
    }

    suspend fun end() {
        phones.values.forEach { it.close() }
        phones.values.forEach { it.clock.close() }
        phones.clear()
    }

    private fun phone(name: String) = phones[name] ?: throw AssertionError("there is no phone `$name`")

    private suspend fun open(name: String, words: List<String>) {
        val servers = if ("servers" in words) control("GET", "/client.json") else null
        val home = File(folder, name).apply { mkdirs() }
        val phone = Phone(scope, home, servers, control("GET", "/now").toLong())
        phone.open(if ("sealed" in words) vaults.getOrPut(name) { MemoryVault() } else null)
        phones[name] = phone
    }

    private suspend fun reopen(name: String, words: List<String>) {
        val phone = phone(name)
        phone.close()
        if ("lost" in words) vaults[name] = MemoryVault()
        phone.open(if ("sealed" in words) vaults.getOrPut(name) { MemoryVault() } else null)
    }

    /** Time goes on for everybody. */
    private fun passes(ms: Long) {
        control("POST", "/advance?ms=$ms")
        phones.values.forEach { it.advance(ms) }
    }

    /** Five minutes in which everybody hears everybody. */
    private suspend fun together() {
        val running = phones.filterValues { it.isRunning && it.radio.problem == null }
        val before = running.mapValues { it.value.radio.scans }
        passes(STEP_MS)
        running.forEach { (name, phone) -> until("$name scans once more", 30) { phone.radio.scans > before.getValue(name) } }
        val sent = phones.mapValues { it.value.radio.advertisement }
        for ((name, phone) in phones.filterValues { it.radio.isScanning }) {
            phone.hears(sent.filterKeys { it != name }.values.filterNotNull(), 4)
        }
        passes(SCAN_MS)
        running.forEach { (name, phone) -> until("$name has scanned", 30) { !phone.radio.isScanning } }
    }

    private suspend fun radio(phone: Phone, state: String) {
        if (state == "off") return phone.radio.fail(RadioProblem.PoweredOff).also { phone.vigie.wake() }
        phone.radio.work()
        untilLater("the radio is used again") { phone.vigie.status().radioProblem == null }
    }

    /** Lets time pass meanwhile: what failed is tried again in some seconds, and between the steps of a report are gaps. */
    private suspend fun untilLater(what: String, isSo: suspend () -> Boolean) = until(what, 60) {
        isSo() || false.also {
            passes(RETRY_MS)
            delay(50)
        }
    }

    private suspend fun state(phone: Phone) = phone.vigie.reports().single { it.id == phone.report }.state

    private suspend fun expect(phone: Phone, words: List<String>) {
        val what = words.joinToString(" ")
        when {
            what == "report done" -> untilLater(what) { state(phone) is ReportState.Done }
            what == "report waiting" -> state(phone).let {
                if (it is ReportState.Done || it is ReportState.Refused) throw AssertionError("found $it")
            }
            what == "alert high" -> until(what, 60) { phone.vigie.alerts().any { it.level == RiskLevel.HIGH } }
            what == "no alert" -> same(emptyList<Any>(), phone.vigie.alerts())
            words[0] == "told" -> untilLater(what) { phone.events.any { name(it) == words[1] } }
            words[0] == "radio" -> until(what, 30) { name(phone.vigie.status().radioProblem) == words.drop(2).joinToString(" ") }
            words[0] == "encounters" -> {
                val found = phone.vigie.status().encounters
                if (found < words[1].removeSuffix("+").toULong()) throw AssertionError("$found encounters")
            }
            what == "storage full" -> {
                if (phone.failure == null) phone.attempt { stop() }
                same("storage full", name(phone.failure))
            }
            else -> throw AssertionError("nobody knows this step")
        }
    }
}

/** As the scenario calls it. */
private fun name(failure: VigieException?) = when (failure) {
    null -> ""
    is VigieException.AdapterUnavailable -> "adapter unavailable"
    is VigieException.RetryAfter -> "retry after"
    is VigieException.Storage -> if (failure.problem == StorageProblem.FULL) "storage full" else "storage ${failure.problem}"
    else -> failure.toString()
}

private fun name(problem: RadioProblem?) = when (problem) {
    null -> "none"
    is RadioProblem.PoweredOff -> "powered off"
    else -> problem.toString()
}

/** `RadioFailed` is `radio_failed`. */
private fun name(event: Event) = event::class.simpleName.orEmpty().replace(Regex("(?<=.)([A-Z])"), "_$1").lowercase()

/** Asks the world around the scenario. */
fun control(method: String, path: String): String {
    val connection = URL(System.getenv("VIGIE_CONTROL") + path).openConnection() as HttpURLConnection
    connection.requestMethod = method
    if (connection.responseCode != 200) {
        throw AssertionError("$method $path: ${connection.responseCode} ${connection.errorStream?.reader()?.readText()}")
    }
    return connection.inputStream.reader().readText()
}
