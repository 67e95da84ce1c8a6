// HTTP over the system's own URLSession: its proxies, its certificates, its HTTP/3.
//
// No cookies, no cache, no name of the app, no language: an observer learns nothing of a device. A redirect is followed only to `https`, and only where
// nothing is sent along. Checked against https://developer.apple.com/documentation/foundation/urlsession and the pages named beside each call.
//
// Downloads in the background: with a `backgroundIdentifier`, what goes to a file is fetched by a background session, so that iOS goes on with it while the
// app is suspended. `exchange` still waits for 60 s at most; what it did not wait for is thrown away, and the library goes on from what it has. Without it
// the seconds of a BGAppRefreshTask have to be enough, and they mostly are: a key list of a day is a few 100 KiB.

import Foundation
#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// Carries the library's requests. One instance for one tracer.
public final class UrlSessionTransport: Transport, @unchecked Sendable {
    fileprivate static let longest: TimeInterval = 60
    private let queue: OperationQueue = {
        let queue = OperationQueue()
        queue.maxConcurrentOperationCount = 1
        queue.name = "vigie.transport"
        return queue
    }()
    private let lock = NSLock()
    private var current: Attempt?
    private let background: BackgroundSession?

    /// - Parameter backgroundIdentifier: names the background session, one for one app; none where downloads should not go on in the background. The app
    ///   hands on `application(_:handleEventsForBackgroundURLSession:completionHandler:)` by calling its completion handler.
    public init(backgroundIdentifier: String? = nil) {
        #if os(iOS)
        let queue = self.queue
        background = backgroundIdentifier.map { BackgroundSession(identifier: $0, queue: queue) }
        #else
        background = nil
        #endif
    }

    deinit {
        background?.end()
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
        if let background, request.file != nil, request.body == nil {
            return try background.run(attempt, message(request, url)).answer(within: UrlSessionTransport.longest)
        }
        // A session for each attempt: no connection outlives an identifier, and a session that is ended lets go of its delegate.
        // https://developer.apple.com/documentation/foundation/urlsession/init(configuration:delegate:delegatequeue:)
        let session = URLSession(configuration: quiet(.ephemeral), delegate: attempt, delegateQueue: queue)
        // https://developer.apple.com/documentation/foundation/urlsession/invalidateandcancel()
        defer { session.invalidateAndCancel() }
        attempt.begin(session.dataTask(with: message(request, url)))
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
private func quiet(_ configuration: URLSessionConfiguration) -> URLSessionConfiguration {
    configuration.timeoutIntervalForRequest = 20
    // https://developer.apple.com/documentation/foundation/urlsessionconfiguration/timeoutintervalforresource: the whole attempt.
    configuration.timeoutIntervalForResource = UrlSessionTransport.longest
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

/// The background session: one for its identifier, as long as the transport lives, because two of the same name are undefined. It follows
/// redirects without asking anybody; App Transport Security refuses those that lead elsewhere than to `https`.
/// https://developer.apple.com/documentation/foundation/urlsessionconfiguration/background(withidentifier:)
private final class BackgroundSession: NSObject, URLSessionDownloadDelegate, @unchecked Sendable {
    private let lock = NSLock()
    private var attempt: Attempt?
    private var session: URLSession?

    #if os(iOS)
    init(identifier: String, queue: OperationQueue) {
        super.init()
        let configuration = quiet(.background(withIdentifier: identifier))
        // The app is woken up for its background tasks, not for a file. https://developer.apple.com/documentation/foundation/urlsessionconfiguration/sessionsendslaunchevents
        configuration.sessionSendsLaunchEvents = false
        let session = URLSession(configuration: configuration, delegate: self, delegateQueue: queue)
        // Nobody waits for what a process before has begun.
        session.getAllTasks { tasks in tasks.forEach { $0.cancel() } }
        self.session = session
    }
    #endif

    /// Begins an attempt; what comes of others that were given up is nobody's.
    func run(_ attempt: Attempt, _ message: URLRequest) throws -> Attempt {
        guard let session else { throw TransportError.Problem(problem: .failed) }
        lock.lock()
        self.attempt = attempt
        lock.unlock()
        attempt.begin(session.downloadTask(with: message))
        return attempt
    }

    /// Lets go of the session, and it of this.
    func end() {
        session?.invalidateAndCancel()
    }

    private func attempt(of task: URLSessionTask) -> Attempt? {
        lock.lock()
        defer { lock.unlock() }
        return attempt.flatMap { $0.owns(task) ? $0 : nil }
    }

    func urlSession(
        _ session: URLSession,
        downloadTask: URLSessionDownloadTask,
        didWriteData bytesWritten: Int64,
        totalBytesWritten: Int64,
        totalBytesExpectedToWrite: Int64
    ) {
        attempt(of: downloadTask)?.hasLoaded(totalBytesWritten)
    }

    func urlSession(_ session: URLSession, downloadTask: URLSessionDownloadTask, didFinishDownloadingTo location: URL) {
        attempt(of: downloadTask)?.take(location, of: downloadTask)
    }

    func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: Error?) {
        attempt(of: task)?.urlSession(session, task: task, didCompleteWithError: error)
    }
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

    func answer(within longest: TimeInterval) throws -> HttpResponse {
        if ended.wait(timeout: .now() + longest) == .timedOut { finish(.failure(.Problem(problem: .timedOut))) }
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

    func owns(_ other: URLSessionTask) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        return task === other
    }

    // https://developer.apple.com/documentation/foundation/urlsessiondownloaddelegate/urlsession(_:downloadtask:didwritedata:totalbyteswritten:totalbytesexpectedtowrite:)
    func hasLoaded(_ bytes: Int64) {
        if UInt64(max(0, bytes)) > request.limit { finish(.failure(.Problem(problem: .tooLarge))) }
    }

    // https://developer.apple.com/documentation/foundation/urlsessiondownloaddelegate/urlsession(_:downloadtask:didfinishdownloadingto:): the file is gone
    // when this returns.
    func take(_ location: URL, of downloadTask: URLSessionDownloadTask) {
        response = downloadTask.response as? HTTPURLResponse
        do {
            let source = try FileHandle(forReadingFrom: location)
            defer { try? source.close() }
            guard goesToFile, let path = request.file else {
                body = try source.read(upToCount: Int(Attempt.maxCrossing)) ?? Data()
                return
            }
            room = try openFile(path, goesOn: status == 206)
            while let part = try source.read(upToCount: Int(Attempt.maxCrossing)), !part.isEmpty {
                guard UInt64(part.count) <= room else { return finish(.failure(.Problem(problem: .tooLarge))) }
                room -= UInt64(part.count)
                write(part)
            }
        } catch {
            finish(.failure(.Problem(problem: .disk)))
        }
    }

    // https://developer.apple.com/documentation/foundation/urlsessiontaskdelegate/urlsession(_:task:didcompletewitherror:)
    func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: Error?) {
        if let error { return finish(.failure(.Problem(problem: Attempt.problem(error)))) }
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
