// What only Swift can get wrong: each error arrives as its own, a cancelled task ends its call, a sequence of events ends, nothing is left; and what others have
// published, and what earlier versions have written (Data.swift). `cargo test -p ffi-tests --test swift` runs it with VIGIE_ROOT, the folder of the project.

import Foundation
import Vigie

struct Failure: Error {
    let text: String
}

func check(_ holds: Bool, _ text: String) throws {
    if !holds { throw Failure(text: text) }
}

func expect(_ expected: VigieError, _ name: String, _ call: () async throws -> Void) async throws {
    do {
        try await call()
    } catch let error as VigieError {
        return try check(error == expected, "\(name): found \(error)")
    }
    throw Failure(text: "\(name): nothing was thrown")
}

/// A radio that may not.
final class Forbidden: Radio, @unchecked Sendable {
    private let problem: RadioProblem
    init(_ problem: RadioProblem) { self.problem = problem }
    func attach(sink: RadioSink) {}
    func detach() {}
    func startScanning(services: [UInt16]) throws { throw RadioError.Problem(problem: problem) }
    func stopScanning() {}
    func advertise(advertisement: Advertisement) throws { throw RadioError.Problem(problem: problem) }
    func stopAdvertising() {}
    func exchange(peer: String, service: UInt16, writeBack: Data) throws -> Data { throw RadioError.Problem(problem: problem) }
}

/// A vault that cannot yet.
final class Locked: KeyVault, @unchecked Sendable {
    func wrap(dataKey: Data) throws -> Data { throw VaultError.Problem(problem: .locked) }
    func unwrap(wrapped: Data) throws -> Data { throw VaultError.Problem(problem: .locked) }
}

@main
struct Errors {
    static func main() async {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("vigie-errors-\(UUID().uuidString)")
        do {
            defer { try? FileManager.default.removeItem(at: folder) }
            try await run(folder)
            print("errors ok")
        } catch {
            FileHandle.standardError.write(Data("\(error)\n".utf8))
            exit(1)
        }
    }

    static func config(_ folder: URL, _ name: String, serversJson: String? = nil) throws -> Config {
        let own = try StoreFolder.prepare(folder.appendingPathComponent(name))
        return Config(storePath: own.appendingPathComponent("store.db").path, downloadsPath: own.path, serversJson: serversJson)
    }

    private static func run(_ folder: URL) async throws {
        try await errors(folder)
        try await storage(folder)
        try await endings(folder)
        try publishedVectorsHold()
        try await storeOfTheFirstVersionOpens(folder)
        let key = Data(repeating: 7, count: 16)
        try check(try rollingProximityIdentifier(key: key, interval: 2_650_847).count == 16, "an identifier of 16 bytes")
        try await expect(.InputInvalid(input: .bytes), "a short key") { _ = try rollingProximityIdentifier(key: key.dropLast(), interval: 0) }
        let end = Date(timeIntervalSinceNow: 10)
        while liveObjects() > 0, Date() < end { try await Task.sleep(nanoseconds: 20_000_000) }
        try check(liveObjects() == 0, "\(liveObjects()) objects are left")
    }

    private static func errors(_ folder: URL) async throws {
        try await expect(.InputInvalid(input: .servers), "servers") {
            _ = try await Tracer.open(config: config(folder, "servers", serversJson: "{"))
        }
        let forbidden = try await Tracer.open(config: config(folder, "forbidden"), radio: Forbidden(.permissionNeeded))
        try await expect(.PermissionNeeded(permission: .bluetooth), "permission") { try await forbidden.start() }
        try await expect(.InputInvalid(input: .verificationCode), "code") { _ = try await forbidden.report(code: "x", details: ReportDetails()) }
        try await expect(.InputInvalid(input: .alert), "alert") { try await forbidden.acknowledgeAlert(id: Data()) }
        try await expect(.InputInvalid(input: .servers), "sync") { _ = try await forbidden.sync() }
        await forbidden.shutDown()
        try await expect(.Internal(code: 2), "after the end") { _ = try await forbidden.status() }
        let off = try await Tracer.open(config: config(folder, "off"), radio: Forbidden(.poweredOff))
        try await expect(.AdapterUnavailable, "adapter") { try await off.start() }
        do {
            _ = try await Tracer.open(config: config(folder, "off"))
            throw Failure(text: "a store was opened twice")
        } catch VigieError.RetryAfter {
        }
        await off.shutDown()
        do {
            _ = try await Tracer.open(config: config(folder, "locked"), vault: Locked())
            throw Failure(text: "a store was opened with a vault that is locked")
        } catch VigieError.RetryAfter {
        }
    }

    private static func storage(_ folder: URL) async throws {
        try await Tracer.open(config: config(folder, "newer")).shutDown()
        // SQLite's user version, in its file format at byte 60.
        let store = try FileHandle(forUpdating: folder.appendingPathComponent("newer").appendingPathComponent("store.db"))
        try store.seek(toOffset: 60)
        try store.write(contentsOf: Data([0, 0, 3, 232]))
        try store.close()
        try await expect(.Storage(problem: .newer), "a store of a newer version") { _ = try await Tracer.open(config: config(folder, "newer")) }
    }

    private static func endings(_ folder: URL) async throws {
        let tracer = try await Tracer.open(config: config(folder, "endings"))
        // A task that waits for an event ends when it is cancelled.
        let events = tracer.events
        let waiting = Task {
            var iterator = events.makeAsyncIterator()
            while await iterator.next() != nil {}
        }
        try await Task.sleep(nanoseconds: 50_000_000)
        waiting.cancel()
        await waiting.value
        // One that iterates ends with the tracer.
        let iterating = Task { for await _ in events {} }
        await tracer.shutDown()
        await iterating.value
        // A tracer that nobody holds any more is ended, though somebody waits for its events.
        let orphans = try await eventsOfNobody(folder)
        for await _ in orphans {}
    }

    private static func eventsOfNobody(_ folder: URL) async throws -> Events {
        try await Tracer.open(config: config(folder, "orphaned")).events
    }
}
