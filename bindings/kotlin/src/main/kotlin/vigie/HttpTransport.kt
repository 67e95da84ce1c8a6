package vigie

import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.InputStream
import java.net.HttpURLConnection
import java.net.NoRouteToHostException
import java.net.SocketTimeoutException
import java.net.URL
import java.net.UnknownHostException
import java.util.Timer
import java.util.concurrent.atomic.AtomicReference
import java.util.zip.GZIPInputStream
import kotlin.concurrent.schedule
import kotlin.concurrent.thread
import vigie.ffi.HttpHeader
import vigie.ffi.HttpRequest
import vigie.ffi.HttpResponse
import vigie.ffi.Transport
import vigie.ffi.TransportException
import vigie.ffi.TransportProblem

/**
 * The system's own HTTP client, on Android and on any JVM.
 *
 * No redirects: a server that is trusted has no reason to send us elsewhere. No cache, and no name of program or phone: an observer learns nothing of a
 * device. Where an app has set a cookie handler for the process, it should refuse those of the authority's servers.
 */
class HttpTransport : Transport {
    private val current = AtomicReference<Exchange?>()

    override fun exchange(request: HttpRequest): HttpResponse {
        val exchange = try { Exchange(request) } catch (_: IOException) { throw failure(TransportProblem.FAILED) }
        val timer = Timer("vigie-http", true)
        try {
            current.set(exchange)
            timer.schedule(TIMEOUT_MS) { exchange.end(TransportProblem.TIMED_OUT) }
            return exchange.answer()
        } catch (error: IOException) {
            throw failure(exchange.ended ?: problem(error))
        } finally {
            timer.cancel()
            current.set(null)
        }
    }

    override fun cancel() {
        current.get()?.end(TransportProblem.FAILED)
    }
}

/** An attempt ends after this time, whatever it is waiting for. */
private const val TIMEOUT_MS = 60_000L

/** A server that says nothing for so long is given up. */
private const val SILENCE_MS = 20_000

/** The most bytes that cross in one piece. */
private const val MAX_CROSSING = 65_536L

/** The headers of an answer that are looked at. */
private val KEPT_HEADERS = listOf("date", "etag", "retry-after", "content-range")

private class Exchange(private val request: HttpRequest) {
    private val connection = URL(request.url).openConnection() as? HttpURLConnection ?: throw IOException()

    /** Why it was ended from outside. */
    @Volatile
    var ended: TransportProblem? = null

    /** Never blocks: whoever calls it may be the main thread. */
    fun end(why: TransportProblem) {
        ended = why
        thread(isDaemon = true, name = "vigie-http-end") { connection.disconnect() }
    }

    fun answer(): HttpResponse {
        send()
        val status = connection.responseCode
        // Not HTTP.
        if (status < 0) throw IOException()
        val content = content(status)
        val path = request.file
        val body = when {
            path == null -> content.use { body(it, status) }
            status == HttpURLConnection.HTTP_OK || status == HttpURLConnection.HTTP_PARTIAL ->
                ByteArray(0).also { content.use { toFile(it, File(path), goesOn = status == HttpURLConnection.HTTP_PARTIAL) } }
            else -> ByteArray(0).also { content.close() }
        }
        val headers = KEPT_HEADERS.mapNotNull { name -> connection.getHeaderField(name)?.let { HttpHeader(name, it) } }
        return HttpResponse(status.toUShort(), headers, body)
    }

    private fun send() {
        connection.instanceFollowRedirects = false
        connection.useCaches = false
        connection.connectTimeout = SILENCE_MS
        connection.readTimeout = SILENCE_MS
        connection.setRequestProperty("user-agent", "")
        connection.setRequestProperty("accept", "*/*")
        // A part of a file is a part of what is not packed. Said in any case, or else Android unpacks what we would unpack.
        connection.setRequestProperty("accept-encoding", if (request.file == null) "gzip" else "identity")
        request.headers.forEach { connection.setRequestProperty(it.name, it.value) }
        val body = request.body ?: return
        connection.requestMethod = "POST"
        connection.doOutput = true
        // Otherwise it may be sent twice.
        connection.setFixedLengthStreamingMode(body.size)
        connection.outputStream.use { it.write(body) }
    }

    private fun content(status: Int): InputStream {
        val raw = if (status >= 400) connection.errorStream else connection.inputStream
        val isEmpty = raw == null || status == HttpURLConnection.HTTP_NO_CONTENT || status == HttpURLConnection.HTTP_NOT_MODIFIED
        if (isEmpty) return ByteArrayInputStream(ByteArray(0))
        val isPacked = request.file == null && connection.contentEncoding.equals("gzip", ignoreCase = true)
        return if (isPacked) GZIPInputStream(raw) else raw
    }

    private fun body(content: InputStream, status: Int): ByteArray {
        val isSuccess = status in 200..299
        val limit = minOf(request.limit, MAX_CROSSING.toULong()).toInt()
        val body = ByteArrayOutputStream()
        val buffer = ByteArray(8_192)
        while (body.size() <= limit) {
            val count = content.read(buffer)
            if (count < 0) return body.toByteArray()
            body.write(buffer, 0, count)
        }
        if (isSuccess) throw failure(TransportProblem.TOO_LARGE)
        return body.toByteArray().copyOf(limit)
    }

    /** What has come stays on the disk when the rest does not. */
    private fun toFile(content: InputStream, path: File, goesOn: Boolean) {
        val file = onDisk {
            path.parentFile?.mkdirs()
            FileOutputStream(path, goesOn)
        }
        var room = request.limit - onDisk { file.channel.size().toULong().coerceAtMost(request.limit) }
        var missing = connection.contentLengthLong
        val buffer = ByteArray(MAX_CROSSING.toInt())
        file.use {
            while (true) {
                val count = content.read(buffer)
                if (ended != null) throw IOException()
                if (count < 0) break
                if (count.toULong() > room) throw failure(TransportProblem.TOO_LARGE)
                onDisk { file.write(buffer, 0, count) }
                room -= count.toULong()
                missing -= count
            }
            onDisk { file.fd.sync() }
        }
        // It broke off; a length that was not said is -1 and less here.
        if (missing > 0) throw IOException()
    }
}

private inline fun <T> onDisk(work: () -> T): T = try { work() } catch (_: IOException) { throw failure(TransportProblem.DISK) }

private fun failure(problem: TransportProblem) = TransportException.Problem(problem)

private fun problem(error: IOException) = when (error) {
    is UnknownHostException, is NoRouteToHostException -> TransportProblem.OFFLINE
    is SocketTimeoutException -> TransportProblem.TIMED_OUT
    else -> TransportProblem.FAILED
}
