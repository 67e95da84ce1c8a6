// The tracer as an app in Swift holds it: over the generated one, with a sequence of events, and with calls that end when their task is cancelled.
//
// uniffi 0.32 does not carry the cancellation of a task to Rust: calls that may last take a `Cancel`, and it is called here from
// `withTaskCancellationHandler`. https://developer.apple.com/documentation/swift/withtaskcancellationhandler(operation:oncancel:isolation:)

import Foundation
import VigieFFI

/// A contact tracer on one store and one radio. It works in the background from `open` to `shutDown`, or to the moment when nobody holds it any more.
///
/// Every method can be called from any thread. Errors are a `VigieError`.
public final class Tracer: @unchecked Sendable {
    private let core: VigieFFI.Tracer

    private init(core: VigieFFI.Tracer) {
        self.core = core
    }

    /// Whoever waits for an event holds the core, too, and is let go by this.
    deinit {
        let core = self.core
        _Concurrency.Task.detached { await core.shutDown() }
    }

    /// Opens the store, made where there is none, and takes hold of the radio. Nothing is sent or heard before `start`.
    ///
    /// Each part may be left out: without a radio nothing is traced, without a transport no server is asked, without a vault nothing is sealed at rest, and
    /// without a clock the device's is read.
    ///
    /// Throws `InputInvalid` where the configuration is wrong; `Storage`, `PermissionNeeded` and `RetryAfter` where the store cannot be used: the last
    /// where another process, or another tracer, has it open, or the vault is locked.
    public static func open(
        config: Config,
        radio: Radio? = nil,
        transport: Transport? = nil,
        vault: KeyVault? = nil,
        clock: Clock? = nil
    ) async throws -> Tracer {
        Tracer(core: try await VigieFFI.Tracer.open(config: config, radio: radio, transport: transport, vault: vault, clock: clock))
    }

    /// What happens, from now on. An event is handed out once: let one part of the app take them. Ends when the tracer is shut down, or the task that
    /// iterates is cancelled.
    public var events: Events {
        Events(core: core)
    }

    /// Ends everything: the radio falls silent, requests and threads end, `events` end, and the store can be opened again. What was kept stays. Every later
    /// call throws `Internal` with code 2. Twice is no error.
    public func shutDown() async {
        await core.shutDown()
    }

    // MARK: Tracing

    /// Begins to send and to hear. Needs no network and no server. Starting twice is no error.
    ///
    /// Throws `PermissionNeeded` and `AdapterUnavailable` where the radio cannot now: tracing is wanted all the same, is tried again by itself, and an event
    /// tells when it works. `Storage`: no identifier is sent that could not be kept.
    public func start() async throws {
        try await core.start()
    }

    /// Ends sending and hearing; what was heard is kept.
    public func stop() async throws {
        try await core.stop()
    }

    /// How it stands.
    public func status() async throws -> Status {
        try await core.status()
    }

    /// Has the library look at once what is due: for an app that was woken up by the system, or a clock that was set. Never blocks.
    public func wake() {
        core.wake()
    }

    /// Stops, and erases all that was ever kept, for good. Gives whether some of it is still held on the disk by another program that reads the store.
    public func eraseEverything() async throws -> Bool {
        try await core.eraseEverything()
    }

    // MARK: Warnings

    /// Matches signed key files against all that was heard: for an app that fetches files itself. A task that is cancelled gets the report of what was
    /// matched until then; the next check goes on from there.
    public func check(files: [String]) async throws -> CheckReport {
        try await cancelling { try await self.core.check(files: files, cancel: $0) }
    }

    /// What follows from all key files that were matched so far.
    public func risk() async throws -> Risk {
        try await core.risk()
    }

    /// The alerts that stand, oldest first.
    public func alerts() async throws -> [Alert] {
        try await core.alerts()
    }

    /// Notes that the user has seen an alert.
    public func acknowledgeAlert(id: Data) async throws {
        try await core.acknowledgeAlert(id: id)
    }

    // MARK: Servers

    /// Does all that is due with radio and servers. For a person who waits (`isAwaited`) key lists and bulletin are asked for now; without, nothing is asked
    /// for before this device's own moment: for an app that the system has woken up for some seconds. A task that is cancelled gets a report whose
    /// `wasCancelled` is true.
    ///
    /// Throws `RetryAfter` where somebody waits and not all key lists could be reached; `InputInvalid` where no servers are configured; `Storage`.
    public func sync(isAwaited: Bool = true) async throws -> SyncReport {
        try await cancelling { try await self.core.sync(cancel: $0, isAwaited: isAwaited) }
    }

    /// How the key lists stand; none where no servers are configured.
    public func keyLists() async throws -> [KeyListStatus] {
        try await core.keyLists()
    }

    /// What the network costs the user from now on.
    public func setNetwork(_ network: Network) {
        core.setNetwork(network: network)
    }

    /// The bulletin that holds, in the language that fits best (BCP 47, such as `fr-LU`). Needs no network.
    public func bulletin(language: String, appVersion: String) async throws -> Bulletin? {
        try await core.bulletin(language: language, appVersion: appVersion)
    }

    /// Reports a diagnosis with the code that the health authority gave. What is in the outbox is sent until the server has it, whatever becomes of the task
    /// that called this. Gives the report's name.
    ///
    /// Throws `InputInvalid` where the code has a typing mistake, or an earlier report is under way; `Storage`. Nothing is sent then.
    public func report(code: String, details: ReportDetails) async throws -> Int64 {
        try await core.report(code: code, details: details)
    }

    /// Goes on with a report that needs another code. `false` where it does not need one.
    public func reportAgain(id: Int64, code: String) async throws -> Bool {
        try await core.reportAgain(id: id, code: code)
    }

    /// Withdraws a report. `false` where its keys may have been sent, or where there is none.
    public func withdrawReport(id: Int64) async throws -> Bool {
        try await core.withdrawReport(id: id)
    }

    /// The reports of the last 14 days, oldest first.
    public func reports() async throws -> [Report] {
        try await core.reports()
    }

    // MARK: Waiting list

    /// Signs somebody up for the waiting list; the form itself is not kept. Gives the sign-up's name on this device.
    public func signUp(form: SignUpForm, recoveryCode: String) async throws -> Int64 {
        try await core.signUp(form: form, recoveryCode: recoveryCode)
    }

    /// The sign-ups of this device, oldest first.
    public func signUps() async throws -> [SignUp] {
        try await core.signUps()
    }

    /// Recovery code and receipt of a sign-up, for the person alone; none where there is no such sign-up.
    public func signUpPapers(id: Int64) async throws -> SignUpPapers? {
        try await core.signUpPapers(id: id)
    }

    /// Takes up a sign-up that was made elsewhere.
    public func recoverSignUp(recoveryCode: String) async throws -> Int64 {
        try await core.recoverSignUp(recoveryCode: recoveryCode)
    }

    /// Puts another form in the place of the one that was sent; the place stays.
    public func correctSignUp(id: Int64, form: SignUpForm) async throws {
        try await core.correctSignUp(id: id, form: form)
    }

    /// Withdraws a sign-up, whatever else is on its way. Withdrawing twice is no error.
    public func withdrawSignUp(id: Int64) async throws {
        try await core.withdrawSignUp(id: id)
    }

    /// Asks now how a sign-up stands, because a person waits for it.
    public func askSignUp(id: Int64) async throws {
        try await core.askSignUp(id: id)
    }

    /// Removes a sign-up from this device alone; with its recovery code it can be recovered. `false` where there is no such sign-up.
    public func forgetSignUp(id: Int64) async throws -> Bool {
        try await core.forgetSignUp(id: id)
    }
}

/// The events of a tracer, as they come.
public struct Events: AsyncSequence {
    public typealias Element = Event

    fileprivate let core: VigieFFI.Tracer

    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(core: core)
    }

    /// Waits for one event after the other.
    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let core: VigieFFI.Tracer

        /// The next event; none after the end of the tracer, or of the task.
        public mutating func next() async -> Event? {
            let core = self.core
            return await cancelling { await core.nextEvent(cancel: $0) }
        }
    }
}

/// Does a call that is told when this task is cancelled.
private func cancelling<Result>(_ call: (Cancel) async throws -> Result) async rethrows -> Result {
    let cancel = Cancel()
    return try await withTaskCancellationHandler {
        try await call(cancel)
    } onCancel: {
        cancel.cancel()
    }
}
