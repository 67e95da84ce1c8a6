// HTTP over the system's own URLSession: its proxies, its certificates, its HTTP/3.
//
// No cookies, no cache, no name of the app, no language: an observer learns nothing of a device. A redirect is followed only to `https`, and only where
// nothing is sent along. Checked against https://developer.apple.com/documentation/foundation/urlsession and the pages named beside each call.
//
// In the background, on iOS: a request that is under way when the app is left holds off the suspension for as long as iOS grants. An answer that goes to a file
// is written as it comes, so that each second counts. What is missing of a file when an attempt fails is left with a background session, which goes on for a day
// at most, also while the app is suspended or was ended by the system. The next attempt takes what that has brought, or else ends it and goes on by itself. No
// attempt begins there: iOS puts off what an app begins in the background until Wi-Fi and a charger suit it.

import Foundation
#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// Carries the library's requests. One instance for one tracer.
public final class UrlSessionTransport: Transport, @unchecked Sendable {
    /// An attempt. The library gives 60 s in all.
    private static let longest: TimeInterval = 57
    private let queue: OperationQueue = {
        let queue = OperationQueue()
        queue.maxConcurrentOperationCount = 1
        queue.name = "vigie.transport"
        return queue
    }()
    private let lock = NSLock()
    private var current: Attempt?
    private let remainder: Remainder?

    /// - Parameter backgroundIdentifier: names the background session on iOS, one for one app; none where nothing is to be fetched while the app is suspended.
    public init(backgroundIdentifier: String? = "vigie.downloads") {
        #if os(iOS)
        let queue = self.queue
        remainder = backgroundIdentifier.map { Remainder(identifier: $0, queue: queue) }
        #else
        remainder = nil
        #endif
    }

    deinit {
        remainder?.end()
    }

    public func exchange(request: HttpRequest) throws -> HttpResponse {
        guard let url = URL(string: request.url) else { throw TransportError.Problem(problem: .failed) }
        let attempt = Attempt(request: request)
        lock.lock()
        let isFree = current == nil
        if isFree { current = attempt }
        lock.unlock()
        guard isFree else { throw TransportError.Problem(problem: .failed) }
        defer {
            lock.lock()
            current = nil
            lock.unlock()
        }
        #if os(iOS)
        let hasEnded = DispatchSemaphore(value: 0)
        defer { hasEnded.signal() }
        // https://developer.apple.com/documentation/foundation/processinfo/performexpiringactivity(withreason:using:): the app is not suspended while the block
        // runs; it is called once more, or at first, with true when there is no more time.
        ProcessInfo.processInfo.performExpiringActivity(withReason: "vigie.transport") { isExpired in
            if isExpired { attempt.timeIsOver() } else { hasEnded.wait() }
        }
        #endif
        let message = self.message(request, url)
        guard let remainder, request.file != nil, request.body == nil else { return try fetch(attempt, message) }
        if let found = remainder.take(message) {
            attempt.take(found)
            return try attempt.answer(within: 0)
        }
        do {
            return try fetch(attempt, message)
        } catch TransportError.Problem(let problem) {
            // The others would end in the same way.
            if [.offline, .failed, .timedOut].contains(problem) { remainder.leave(attempt.rest(of: message), limit: request.limit) }
            throw TransportError.Problem(problem: problem)
        }
    }

    private func fetch(_ attempt: Attempt, _ message: URLRequest) throws -> HttpResponse {
        // A session for each attempt: no connection outlives an identifier, and a session that is ended lets go of its delegate.
        // https://developer.apple.com/documentation/foundation/urlsession/init(configuration:delegate:delegatequeue:)
        let configuration = quiet(.ephemeral, longest: UrlSessionTransport.longest)
        let session = URLSession(configuration: configuration, delegate: attempt, delegateQueue: queue)
        // https://developer.apple.com/documentation/foundation/urlsession/invalidateandcancel()
        defer { session.invalidateAndCancel() }
        attempt.begin(session.dataTask(with: message))
        return try attempt.answer(within: UrlSessionTransport.longest)
    }

    public func cancel() {
        lock.lock()
        let attempt = current
        lock.unlock()
        attempt?.cancel()
    }

    private func message(_ request: HttpRequest, _ url: URL) -> URLRequest {
        var message = URLRequest(url: url)
        message.httpMethod = request.body == nil ? "GET" : "POST"
        message.httpBody = request.body
        message.httpShouldHandleCookies = false
        for header in request.headers { message.setValue(header.value, forHTTPHeaderField: header.name) }
        return message
    }
}

/// A configuration that says nothing of the user and keeps nothing.
func quiet(_ configuration: URLSessionConfiguration, longest: TimeInterval) -> URLSessionConfiguration {
    configuration.timeoutIntervalForRequest = 20
    // https://developer.apple.com/documentation/foundation/urlsessionconfiguration/timeoutintervalforresource: the whole task.
    configuration.timeoutIntervalForResource = longest
    configuration.requestCachePolicy = .reloadIgnoringLocalCacheData
    configuration.urlCache = nil
    configuration.httpCookieStorage = nil
    configuration.httpShouldSetCookies = false
    configuration.urlCredentialStorage = nil
    // What the system would say of app and user otherwise.
    // https://developer.apple.com/documentation/foundation/urlsessionconfiguration/httpadditionalheaders
    configuration.httpAdditionalHeaders = ["User-Agent": "vigie", "Accept-Language": "*"]
    return configuration
}

/// One request and its answer. The delegate's calls come one after the other, on the session's queue.
private final class Attempt: NSObject, URLSessionDataDelegate, @unchecked Sendable {
    /// What crosses in one piece, at most.
    private static let maxCrossing: UInt64 = 65_536
    /// What the library reads.
    private static let keptHeaders = ["date", "etag", "retry-after", "content-range"]

    private let request: HttpRequest
    private let ended = DispatchSemaphore(value: 0)
    private let lock = NSLock()
    private var task: URLSessionTask?
    private var isCancelled = false
    private var outcome: Result<HttpResponse, TransportError>?
    private var response: HTTPURLResponse?
    private var body = Data()
    private var file: FileHandle?
    private var hasOpened = false
    /// Bytes that the answer may still have.
    private var room: UInt64 = 0

    init(request: HttpRequest) {
        self.request = request
    }

    func begin(_ task: URLSessionTask) {
        lock.lock()
        self.task = task
        let isCancelled = self.isCancelled
        lock.unlock()
        if isCancelled { finish(.failure(.Problem(problem: .failed))) } else { task.resume() }
    }

    func cancel() {
        finish(.failure(.Problem(problem: .failed)))
    }

    /// Not the server's fault: the library goes on where it was.
    func timeIsOver() {
        finish(.failure(.Problem(problem: .timedOut)))
    }

    func answer(within longest: TimeInterval) throws -> HttpResponse {
        if ended.wait(timeout: .now() + longest) == .timedOut { timeIsOver() }
        lock.lock()
        defer { lock.unlock() }
        try? file?.close()
        file = nil
        guard let outcome else { throw TransportError.Problem(problem: .failed) }
        return try outcome.get()
    }

    /// The first outcome counts.
    private func finish(_ outcome: Result<HttpResponse, TransportError>) {
        lock.lock()
        let isFirst = self.outcome == nil
        if isFirst { self.outcome = outcome }
        if case .failure = outcome { isCancelled = true }
        let task = self.task
        lock.unlock()
        guard isFirst else { return }
        if case .failure = outcome { task?.cancel() }
        ended.signal()
    }

    private var status: Int {
        response?.statusCode ?? 0
    }

    private var goesToFile: Bool {
        request.file != nil && (status == 200 || status == 206)
    }

    // https://developer.apple.com/documentation/foundation/urlsessiontaskdelegate/urlsession(_:task:willperformhttpredirection:newrequest:completionhandler:):
    // nil makes the redirect itself the answer.
    func urlSession(
        _ session: URLSession,
        task: URLSessionTask,
        willPerformHTTPRedirection response: HTTPURLResponse,
        newRequest: URLRequest,
        completionHandler: @escaping (URLRequest?) -> Void
    ) {
        let isSafe = newRequest.url?.scheme?.lowercased() == "https" && request.body == nil
        completionHandler(isSafe ? newRequest : nil)
    }

    // https://developer.apple.com/documentation/foundation/urlsessiondatadelegate/urlsession(_:datatask:didreceive:completionhandler:)
    func urlSession(
        _ session: URLSession,
        dataTask: URLSessionDataTask,
        didReceive response: URLResponse,
        completionHandler: @escaping (URLSession.ResponseDisposition) -> Void
    ) {
        self.response = response as? HTTPURLResponse
        room = request.file == nil ? request.limit : Attempt.maxCrossing
        if goesToFile, let path = request.file {
            do {
                room = try openFile(path, goesOn: status == 206)
            } catch {
                finish(.failure(.Problem(problem: .disk)))
            }
        }
        completionHandler(.allow)
    }

    // https://developer.apple.com/documentation/foundation/urlsessiondatadelegate/urlsession(_:datatask:didreceive:)-74qky: decompressed already.
    func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
        let count = UInt64(data.count)
        if goesToFile {
            guard count <= room else { return finish(.failure(.Problem(problem: .tooLarge))) }
            room -= count
            write(data)
            return
        }
        let isSuccess = (200..<300).contains(status)
        let bound = min(request.file == nil ? request.limit : Attempt.maxCrossing, Attempt.maxCrossing)
        let space = Int(bound) - body.count
        if isSuccess, request.file == nil, data.count > space { return finish(.failure(.Problem(problem: .tooLarge))) }
        body.append(data.prefix(max(0, space)))
    }

    /// The answer is what the system has brought.
    func take(_ found: Remainder.Found) {
        defer { try? FileManager.default.removeItem(at: found.file) }
        response = found.response
        guard goesToFile, let path = request.file else { return finish(.failure(.Problem(problem: .failed))) }
        do {
            let source = try FileHandle(forReadingFrom: found.file)
            defer { try? source.close() }
            room = try openFile(path, goesOn: status == 206)
            while let part = try source.read(upToCount: Int(Attempt.maxCrossing)), !part.isEmpty {
                guard UInt64(part.count) <= room else { return finish(.failure(.Problem(problem: .tooLarge))) }
                room -= UInt64(part.count)
                write(part)
            }
        } catch {
            return finish(.failure(.Problem(problem: .disk)))
        }
        complete()
    }

    /// What is missing of the file after an attempt that failed.
    func rest(of message: URLRequest) -> URLRequest {
        lock.lock()
        let hasOpened = self.hasOpened
        lock.unlock()
        // Where no answer has begun, the file is as it was asked for.
        guard hasOpened, let path = request.file,
            let length = (try? FileManager.default.attributesOfItem(atPath: path))?[.size] as? NSNumber, length.uint64Value > 0
        else { return message }
        var rest = message
        rest.setValue("bytes=\(length.uint64Value)-", forHTTPHeaderField: "Range")
        return rest
    }

    // https://developer.apple.com/documentation/foundation/urlsessiontaskdelegate/urlsession(_:task:didcompletewitherror:)
    func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: Error?) {
        if let error { return finish(.failure(.Problem(problem: Attempt.problem(error)))) }
        complete()
    }

    private func complete() {
        guard let response, (100..<600).contains(response.statusCode) else { return finish(.failure(.Problem(problem: .failed))) }
        do {
            try file?.synchronize()
        } catch {
            return finish(.failure(.Problem(problem: .disk)))
        }
        // https://developer.apple.com/documentation/foundation/httpurlresponse/value(forhttpheaderfield:): in whatever letters.
        let headers = Attempt.keptHeaders.compactMap { name in
            response.value(forHTTPHeaderField: name).map { HttpHeader(name: name, value: $0) }
        }
        finish(.success(HttpResponse(status: UInt16(response.statusCode), headers: headers, body: body)))
    }

    /// Opens what an answer is written to; gives the bytes that may still come.
    private func openFile(_ path: String, goesOn: Bool) throws -> UInt64 {
        let url = URL(fileURLWithPath: path)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        if !FileManager.default.fileExists(atPath: path), !FileManager.default.createFile(atPath: path, contents: nil) {
            throw CocoaError(.fileWriteUnknown)
        }
        let handle = try FileHandle(forWritingTo: url)
        if !goesOn { try handle.truncate(atOffset: 0) }
        let length = try handle.seekToEnd()
        lock.lock()
        file = handle
        hasOpened = true
        lock.unlock()
        return request.limit >= length ? request.limit - length : 0
    }

    /// https://developer.apple.com/documentation/foundation/filehandle/write(contentsof:): throws where `write(_:)` would raise an exception.
    private func write(_ data: Data) {
        lock.lock()
        let handle = outcome == nil ? file : nil
        lock.unlock()
        do {
            try handle?.write(contentsOf: data)
        } catch {
            finish(.failure(.Problem(problem: .disk)))
        }
    }

    /// https://developer.apple.com/documentation/foundation/urlerror/code
    private static func problem(_ error: Error) -> TransportProblem {
        switch (error as? URLError)?.code {
        case .notConnectedToInternet, .dataNotAllowed, .internationalRoamingOff, .callIsActive, .cannotFindHost, .dnsLookupFailed: return .offline
        case .timedOut: return .timedOut
        case .cannotWriteToFile, .cannotCreateFile, .cannotOpenFile, .cannotCloseFile: return .disk
        default: return .failed
        }
    }
}
