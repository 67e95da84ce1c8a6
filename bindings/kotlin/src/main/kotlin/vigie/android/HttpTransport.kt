package vigie.android

import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.InputStream
import java.net.HttpURLConnection
import java.net.SocketTimeoutException
import java.net.URL
import java.net.UnknownHostException
import vigie.ffi.HttpHeader
import vigie.ffi.HttpRequest
import vigie.ffi.HttpResponse
import vigie.ffi.Transport
import vigie.ffi.TransportException
import vigie.ffi.TransportProblem

private const val CONNECT_MS = 15_000
private const val READ_MS = 20_000

/** All of an attempt. */
private const val WHOLE_NS = 55_000_000_000L

/** The most bytes that cross to the library in one piece. */
private const val MOST_CROSSING = 65_536L

/** The system's HTTP: its certificates, its proxies, its network security configuration. Redirects are not followed. */
class HttpTransport : Transport {
    @Volatile private var current: HttpURLConnection? = null

    override fun exchange(request: HttpRequest): HttpResponse {
        val connection = try {
            URL(request.url).openConnection() as HttpURLConnection
        } catch (_: IOException) {
            throw failed(TransportProblem.FAILED)
        }
        current = connection
        try {
            return talk(connection, request)
        } catch (_: UnknownHostException) {
            throw failed(TransportProblem.OFFLINE)
        } catch (_: SocketTimeoutException) {
            throw failed(TransportProblem.TIMED_OUT)
        } catch (_: IOException) {
            throw failed(TransportProblem.FAILED)
        } catch (_: RuntimeException) {
            // Android's own throws some where it is disconnected meanwhile, or may not use the network.
            throw failed(TransportProblem.FAILED)
        } finally {
            current = null
            connection.disconnect()
        }
    }

    override fun cancel() {
        current?.disconnect()
    }

    private fun talk(connection: HttpURLConnection, request: HttpRequest): HttpResponse {
        val deadline = System.nanoTime() + WHOLE_NS
        connection.connectTimeout = CONNECT_MS
        connection.readTimeout = READ_MS
        connection.instanceFollowRedirects = false
        connection.useCaches = false
        request.headers.forEach { connection.setRequestProperty(it.name, it.value) }
        request.body?.let { body ->
            connection.doOutput = true
            connection.setFixedLengthStreamingMode(body.size)
            connection.outputStream.use { it.write(body) }
        }
        val status = connection.responseCode
        val isSuccess = status in 200..299
        val content: InputStream? = if (isSuccess) connection.inputStream else connection.errorStream
        val path = request.file?.takeIf { status == 200 || status == 206 }
        val body = when {
            content == null -> ByteArray(0)
            path != null -> ByteArray(0).also { content.use { keep(it, File(path), status == 206, request.limit.toLong(), deadline) } }
            else -> content.use { read(it, minOf(request.limit.toLong(), MOST_CROSSING), isSuccess, deadline) }
        }
        val headers = connection.headerFields.orEmpty().flatMap { (name, values) ->
            // The line with the status has no name.
            if (name == null) emptyList() else values.map { HttpHeader(name.lowercase(), it) }
        }
        return HttpResponse(status.toUShort(), headers, body)
    }

    /** Writes it to the file; what came before it broke off stays. */
    private fun keep(content: InputStream, file: File, appends: Boolean, limit: Long, deadline: Long) {
        var length = if (appends) file.length() else 0
        val output = try {
            FileOutputStream(file, appends)
        } catch (_: IOException) {
            throw failed(TransportProblem.DISK)
        }
        output.use {
            content.pieces(deadline) { piece, count ->
                length += count
                if (length > limit) throw failed(TransportProblem.TOO_LARGE)
                try {
                    it.write(piece, 0, count)
                } catch (_: IOException) {
                    throw failed(TransportProblem.DISK)
                }
            }
        }
    }

    private fun read(content: InputStream, limit: Long, isSuccess: Boolean, deadline: Long): ByteArray {
        val body = java.io.ByteArrayOutputStream()
        content.pieces(deadline) { piece, count ->
            val room = (limit - body.size()).toInt()
            if (count > room && isSuccess) throw failed(TransportProblem.TOO_LARGE)
            body.write(piece, 0, minOf(count, room))
        }
        return body.toByteArray()
    }
}

private fun InputStream.pieces(deadline: Long, use: (ByteArray, Int) -> Unit) {
    val piece = ByteArray(16_384)
    while (true) {
        val count = read(piece)
        if (count < 0) return
        if (System.nanoTime() > deadline) throw failed(TransportProblem.TIMED_OUT)
        use(piece, count)
    }
}

private fun failed(problem: TransportProblem) = TransportException.Problem(problem)
