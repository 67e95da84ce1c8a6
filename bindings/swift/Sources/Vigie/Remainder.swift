// The background session of UrlSessionTransport.swift: goes on with a file that an attempt did not bring to its end.

import Foundation
#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// What attempts did not bring to an end, left with the system: one file at a time. It follows redirects without asking anybody; App Transport Security refuses
/// those that lead elsewhere than to `https`.
/// https://developer.apple.com/documentation/foundation/urlsessionconfiguration/background(withidentifier:)
final class Remainder: NSObject, URLSessionDownloadDelegate, @unchecked Sendable {
    /// The system is let go on for so long.
    private static let longest: TimeInterval = 24 * 3600
    /// To hear from the system what it is at.
    private static let patience = DispatchTimeInterval.seconds(1)

    private let lock = NSLock()
    private var session: URLSession?
    private var found: Found?

    /// What the system has brought.
    struct Found {
        let request: URLRequest
        let response: HTTPURLResponse
        let file: URL
    }

    #if os(iOS)
    /// The session is made at once, so that it tells what a process before has left.
    init(identifier: String, queue: OperationQueue) {
        super.init()
        let configuration = quiet(.background(withIdentifier: identifier), longest: Remainder.longest)
        // The app is woken up for its background tasks, not for a file. https://developer.apple.com/documentation/foundation/urlsessionconfiguration/sessionsendslaunchevents
        configuration.sessionSendsLaunchEvents = false
        session = URLSession(configuration: configuration, delegate: self, delegateQueue: queue)
    }
    #endif

    /// Ends it, and lets go of the session, and it of this.
    func end() {
        session?.invalidateAndCancel()
    }

    /// Leaves it with the system, in the place of what was left before. An answer beyond the limit, in bytes, is given up. Not to be called on the queue.
    func leave(_ message: URLRequest, limit: UInt64) {
        stop(nil)
        guard let task = session?.downloadTask(with: message) else { return }
        // Kept with the task: https://developer.apple.com/documentation/foundation/urlsessiontask/taskdescription
        task.taskDescription = String(limit)
        task.resume()
    }

    /// What was brought for this request, once: the file is the caller's. What is still under way for it ends. Not to be called on the queue.
    func take(_ message: URLRequest) -> Found? {
        stop(message.url)
        lock.lock()
        defer { lock.unlock() }
        guard let found, found.request.url == message.url else { return nil }
        self.found = nil
        if range(found.request) == range(message) { return found }
        try? FileManager.default.removeItem(at: found.file)
        return nil
    }

    private func range(_ request: URLRequest) -> String? {
        request.value(forHTTPHeaderField: "Range")
    }

    /// Ends what the system is at, of one address or of all.
    private func stop(_ url: URL?) {
        let isTold = DispatchSemaphore(value: 0)
        // https://developer.apple.com/documentation/foundation/urlsession/getalltasks(completionhandler:)
        session?.getAllTasks { tasks in
            for task in tasks where url == nil || task.originalRequest?.url == url { task.cancel() }
            isTold.signal()
        }
        _ = isTold.wait(timeout: .now() + Remainder.patience)
    }

    // https://developer.apple.com/documentation/foundation/urlsessiondownloaddelegate/urlsession(_:downloadtask:didwritedata:totalbyteswritten:totalbytesexpectedtowrite:)
    func urlSession(
        _ session: URLSession,
        downloadTask: URLSessionDownloadTask,
        didWriteData bytesWritten: Int64,
        totalBytesWritten: Int64,
        totalBytesExpectedToWrite: Int64
    ) {
        let limit = downloadTask.taskDescription.flatMap { Int64($0) } ?? 0
        if totalBytesWritten > limit { downloadTask.cancel() }
    }

    // https://developer.apple.com/documentation/foundation/urlsessiondownloaddelegate/urlsession(_:downloadtask:didfinishdownloadingto:): the file is gone
    // when this returns. What is no file is asked for anew by the next attempt.
    func urlSession(_ session: URLSession, downloadTask: URLSessionDownloadTask, didFinishDownloadingTo location: URL) {
        guard let request = downloadTask.originalRequest, let response = downloadTask.response as? HTTPURLResponse,
            response.statusCode == 200 || response.statusCode == 206
        else { return }
        let files = FileManager.default
        let file = files.temporaryDirectory.appendingPathComponent("vigie-remainder")
        lock.lock()
        defer { lock.unlock() }
        found = nil
        try? files.removeItem(at: file)
        guard (try? files.moveItem(at: location, to: file)) != nil else { return }
        found = Found(request: request, response: response, file: file)
    }
}
