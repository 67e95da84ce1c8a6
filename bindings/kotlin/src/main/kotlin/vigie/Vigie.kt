/**
 * What Kotlin adds to [vigie.ffi]: events as a flow.
 */
package vigie

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import vigie.ffi.Event
import vigie.ffi.Tracer

val Tracer.events: Flow<Event>
    get() = flow {
        while (true) emit(nextEvent(null) ?: break)
    }
