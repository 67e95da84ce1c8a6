package vigie.tests

import vigie.ffi.Advertisement
import vigie.ffi.Radio
import vigie.ffi.RadioException
import vigie.ffi.RadioProblem
import vigie.ffi.RadioSink

/** A phone's radio without air: what it should send and hear is looked at, and what it hears is handed in. */
class FakeRadio : Radio {
    private var sink: RadioSink? = null

    /** Why every call fails, if it does. */
    var problem: RadioProblem? = null
        @Synchronized get
        @Synchronized private set

    /** What is thrown instead, if something is: by calls that may fail, and by those that may not. */
    @Volatile
    var surprise: Exception? = null

    @Volatile
    var surpriseAtStop: Exception? = null

    /** What is on the air. */
    var advertisement: Advertisement? = null
        @Synchronized get
        private set

    /** When it was first told what to send, by the clock of [System.nanoTime]. */
    @Volatile
    var advertisedAt = 0L
        private set

    var isScanning = false
        @Synchronized get
        private set

    /** How often it was told to scan. */
    var scans = 0
        @Synchronized get
        private set

    @Synchronized
    override fun attach(sink: RadioSink) {
        this.sink = sink
    }

    @Synchronized
    override fun detach() {
        sink?.close()
        sink = null
    }

    @Synchronized
    override fun startScanning(services: List<UShort>) {
        fail()
        isScanning = true
        scans++
    }

    @Synchronized
    override fun stopScanning() {
        surpriseAtStop?.let { throw it }
        isScanning = false
    }

    @Synchronized
    override fun advertise(advertisement: Advertisement) {
        fail()
        if (advertisedAt == 0L) advertisedAt = System.nanoTime()
        this.advertisement = advertisement
    }

    @Synchronized
    override fun stopAdvertising() {
        advertisement = null
    }

    override fun exchange(peer: String, service: UShort, writeBack: ByteArray): ByteArray =
        throw RadioException.Problem(RadioProblem.Unsupported)

    /** Does something with the sink while there is one. */
    @Synchronized
    fun hand(work: (RadioSink) -> Unit) {
        sink?.let(work)
    }

    /** From now on it fails, and what goes on ends by itself. */
    @Synchronized
    fun fail(why: RadioProblem) {
        problem = why
        isScanning = false
        advertisement = null
        sink?.scanningFailed(why)
        sink?.advertisingFailed(why)
    }

    @Synchronized
    fun work() {
        problem = null
    }

    private fun fail() {
        surprise?.let { throw it }
        problem?.let { throw RadioException.Problem(it) }
    }
}
