// What the system wakes the app for: to ask servers for key lists, to match them, and to send what is in the outbox.
//
// iOS decides when, and whether: an app that is never opened is woken up seldom, one that was ended by the user in the app switcher not at all. Info.plist
// needs both identifiers under BGTaskSchedulerPermittedIdentifiers, and `fetch` and `processing` under UIBackgroundModes.
//
// Checked against https://developer.apple.com/documentation/backgroundtasks/bgtaskscheduler and the pages named beside each call.

#if os(iOS) && canImport(BackgroundTasks)
import BackgroundTasks
import Foundation

/// The entry points for `BGTaskScheduler`.
public enum BackgroundTasks {
    /// For some seconds, several times a day. https://developer.apple.com/documentation/backgroundtasks/bgapprefreshtask
    public static let refreshIdentifier = "vigie.refresh"

    /// For some minutes, while the phone is charged or not used. https://developer.apple.com/documentation/backgroundtasks/bgprocessingtask
    public static let processingIdentifier = "vigie.processing"

    /// The library polls each list about once in four hours, at moments of its own; more often is of no use.
    private static let earliest: TimeInterval = 4 * 3600

    /// Has the system call. To be called once, before the app has finished launching, and `schedule` afterwards.
    ///
    /// - Parameter tracer: gives the tracer of the app, opened where it is not, and started where tracing is wanted; none where the user has not agreed.
    public static func register(tracer: @escaping @Sendable () async -> Tracer?) {
        for identifier in [refreshIdentifier, processingIdentifier] {
            // https://developer.apple.com/documentation/backgroundtasks/bgtaskscheduler/register(fortaskwithidentifier:using:launchhandler:): false where
            // Info.plist lacks it, or at the second time.
            let isRegistered = BGTaskScheduler.shared.register(forTaskWithIdentifier: identifier, using: nil) { task in
                run(task, tracer: tracer)
            }
            assert(isRegistered, "\(identifier) is missing under BGTaskSchedulerPermittedIdentifiers in Info.plist")
        }
    }

    /// Asks to be woken up; also when a run has begun, because a request counts once.
    public static func schedule() {
        // https://developer.apple.com/documentation/backgroundtasks/bgapprefreshtaskrequest
        let refresh = BGAppRefreshTaskRequest(identifier: refreshIdentifier)
        refresh.earliestBeginDate = Date(timeIntervalSinceNow: earliest)
        // https://developer.apple.com/documentation/backgroundtasks/bgprocessingtaskrequest
        let processing = BGProcessingTaskRequest(identifier: processingIdentifier)
        processing.earliestBeginDate = Date(timeIntervalSinceNow: earliest)
        processing.requiresNetworkConnectivity = true
        for request in [refresh, processing] as [BGTaskRequest] {
            // https://developer.apple.com/documentation/backgroundtasks/bgtaskscheduler/submit(_:): fails where the user has switched off background
            // refresh, and on a simulator; the library works whenever the app is open.
            _ = try? BGTaskScheduler.shared.submit(request)
        }
    }

    private static func run(_ task: BGTask, tracer: @escaping @Sendable () async -> Tracer?) {
        schedule()
        let completion = Completion(task)
        let work = _Concurrency.Task<Bool, Never> {
            guard let tracer = await tracer() else { return true }
            tracer.wake()
            // Nobody waits: servers are asked at this device's own moments. What was missed is asked again by then: no failure of this run.
            return (try? await tracer.sync(isAwaited: false)).map { !$0.wasCancelled } ?? false
        }
        // https://developer.apple.com/documentation/backgroundtasks/bgtask/expirationhandler: the time is over, and iOS ends an app that does not say at once
        // that it is done. A request that is under way does not end so fast; what it has brought is kept, and it goes on from there the next time.
        task.expirationHandler = {
            work.cancel()
            completion.call(success: false)
        }
        _Concurrency.Task {
            completion.call(success: await work.value)
        }
    }
}

/// Tells the system once that a run is over.
private final class Completion: @unchecked Sendable {
    private let lock = NSLock()
    private var task: BGTask?

    init(_ task: BGTask) {
        self.task = task
    }

    /// https://developer.apple.com/documentation/backgroundtasks/bgtask/settaskcompleted(success:)
    func call(success: Bool) {
        lock.lock()
        let task = self.task
        self.task = nil
        lock.unlock()
        task?.setTaskCompleted(success: success)
    }
}
#endif
