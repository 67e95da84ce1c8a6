/** The transport of the JVM against a server that says what a test wants. */
package vigie.tests

import java.io.ByteArrayOutputStream
import java.io.File
import java.net.ServerSocket
import java.util.concurrent.CountDownLatch
import java.util.zip.GZIPOutputStream
import kotlin.concurrent.thread
import vigie.HttpTransport
import vigie.ffi.HttpHeader
import vigie.ffi.HttpRequest
import vigie.ffi.HttpResponse
import vigie.ffi.TransportException
import vigie.ffi.TransportProblem

val HTTP = listOf<Test>(
    "an answer comes with its headers, and no name of the program goes out" to {
        val answers = listOf(
            answer("304 Not Modified\r\netag: \"a\"\r\nDate: Thu, 22 Oct 2020 18:00:00 GMT\r\nx-other: 1", ""),
            answer("200 OK\r\ncontent-length: 5", "12345"),
        )
        serve(answers) { url, asked ->
            val response = get(url, headers = listOf(HttpHeader("if-none-match", "\"a\"")))
            same(304.toUShort(), response.status)
            same(listOf(HttpHeader("date", "Thu, 22 Oct 2020 18:00:00 GMT"), HttpHeader("etag", "\"a\"")), response.headers)
            same(TransportProblem.TOO_LARGE, problem { get(url, limit = 4u) })
            same(true, "if-none-match: \"a\"" in asked[0])
            same(false, asked.any { it.contains("java", ignoreCase = true) })
        }
    },
    "a body is sent once, and an answer that is packed is unpacked" to {
        val packed = ByteArrayOutputStream().also { GZIPOutputStream(it).use { gzip -> gzip.write("yes".toByteArray()) } }
        val head = answer("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: ${packed.size()}", "")
        serve(listOf(head + packed.toByteArray())) { url, asked ->
            same("yes", String(get(url, body = "{}".toByteArray()).body))
            same(true, asked[0].startsWith("POST ") && "Content-Length: 2" in asked[0])
        }
    },
    "an answer that is no success is cut off, and a redirect is one" to {
        val answers = listOf(
            answer("500 Internal Server Error\r\ncontent-length: 5", "12345"),
            answer("302 Found\r\nlocation: https://example.org/\r\ncontent-length: 0", ""),
        )
        serve(answers) { url, _ ->
            same("1234", String(get(url, limit = 4u).body))
            same(302.toUShort(), get(url).status)
        }
    },
    "a file that breaks off stays and goes on" to {
        val file = File(folder, "new/file.part")
        val answers = listOf(
            answer("200 OK\r\ncontent-length: 6", "abc"),
            answer("206 Partial Content\r\ncontent-length: 3\r\ncontent-range: bytes 3-5/6", "def"),
            answer("404 Not Found\r\ncontent-length: 4", "none"),
            answer("206 Partial Content\r\ncontent-length: 1", "g"),
            answer("200 OK\r\ncontent-length: 2", "xy"),
            answer("200 OK\r\ncontent-length: 1", "z"),
        )
        serve(answers) { url, asked ->
            same(TransportProblem.FAILED, problem { get(url, file) })
            same("abc", file.readText())
            val rest = get(url, file, headers = listOf(HttpHeader("range", "bytes=3-")))
            same(Pair(206.toUShort(), HttpHeader("content-range", "bytes 3-5/6")), Pair(rest.status, rest.headers.single()))
            same(Pair(404.toUShort(), 0), get(url, file).run { Pair(status, body.size) })
            same("abcdef", file.readText())
            same(TransportProblem.TOO_LARGE, problem { get(url, file, limit = 6u) })
            same(TransportProblem.TOO_LARGE, problem { get(url, file, limit = 1u) })
            get(url, file)
            same("z", file.readText())
            same(true, asked.all { "accept-encoding: identity" in it })
        }
    },
    "a file that cannot be written is a problem of the disk" to {
        serve(listOf(answer("200 OK\r\ncontent-length: 1", "a"))) { url, _ -> same(TransportProblem.DISK, problem { get(url, folder) }) }
    },
    "nobody there, and no such name" to {
        val port = ServerSocket(0).use { it.localPort }
        same(TransportProblem.FAILED, problem { get("http://127.0.0.1:$port/") })
        same(TransportProblem.OFFLINE, problem { get("http://nobody.invalid/") })
    },
    "an address that is none, or of something else, leaves no thread behind" to {
        val timers = { Thread.getAllStackTraces().keys.filter { it.name == "vigie-http" }.toSet() }
        val before = timers()
        same(TransportProblem.FAILED, problem { get("nonsense") })
        same(TransportProblem.FAILED, problem { get("file:///") })
        same(0, (timers() - before).size)
    },
    "an exchange that waits for its server is ended" to {
        ServerSocket(0).use { server ->
            val transport = HttpTransport()
            val isAsked = CountDownLatch(1)
            thread(isDaemon = true) {
                val socket = server.accept()
                socket.getInputStream().bufferedReader().lineSequence().takeWhile { it.isNotEmpty() }.count()
                isAsked.countDown()
                // Neither an answer nor an end.
                socket.getInputStream().read()
            }
            val cancelling = thread {
                isAsked.await()
                Thread.sleep(50)
                transport.cancel()
            }
            same(TransportProblem.FAILED, problem { transport.exchange(request("http://127.0.0.1:${server.localPort}/")) })
            cancelling.join()
        }
    },
)

private fun request(url: String, file: File? = null, limit: ULong = 6u, headers: List<HttpHeader> = listOf(), body: ByteArray? = null) =
    HttpRequest(url, headers, body, file?.path, limit)

private fun get(url: String, file: File? = null, limit: ULong = 6u, headers: List<HttpHeader> = listOf(), body: ByteArray? = null): HttpResponse =
    HttpTransport().exchange(request(url, file, limit, headers, body))

private suspend fun problem(exchange: () -> Unit) = failure<TransportException.Problem> { exchange() }.problem

private fun answer(head: String, body: String) = "HTTP/1.1 $head\r\nconnection: close\r\n\r\n$body".toByteArray()

/** Answers one request after the other with these bytes, and gives what was asked, in small letters but for values. */
private suspend fun serve(answers: List<ByteArray>, work: suspend (String, List<String>) -> Unit) {
    val asked = mutableListOf<String>()
    ServerSocket(0).use { server ->
        val serving = thread {
            for (answer in answers) {
                server.accept().use { socket ->
                    val lines = socket.getInputStream().bufferedReader().lineSequence().takeWhile { it.isNotEmpty() }
                    synchronized(asked) { asked += lines.joinToString("\n") }
                    socket.getOutputStream().write(answer)
                }
            }
        }
        work("http://127.0.0.1:${server.localPort}/x", asked)
        serving.join()
    }
}
