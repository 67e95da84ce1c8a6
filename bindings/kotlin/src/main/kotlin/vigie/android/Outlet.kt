package vigie.android

import java.util.concurrent.locks.ReentrantReadWriteLock
import kotlin.concurrent.read
import kotlin.concurrent.write
import vigie.ffi.RadioSink

/** The sink, for threads of the system that may come after it was let go of. */
internal class Outlet(sink: RadioSink) {
    private val lock = ReentrantReadWriteLock()
    private var sink: RadioSink? = sink

    /** Does this with the sink; nothing where there is none any more. */
    fun <T> use(work: (RadioSink) -> T): T? = lock.read { sink?.let(work) }

    /** Waits for those that use it, and lets go of it. */
    fun close() = lock.write {
        sink?.close()
        sink = null
    }
}
