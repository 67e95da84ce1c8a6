// What each step does.

import Foundation
import Vigie

/// What comes later than this does not come.
private let patience: TimeInterval = 60

private let secondMs: UInt64 = 1_000
private let minuteMs = 60 * secondMs

final class World {
    private let control: Control
    private let folder: URL
    private var scene: String?
    private var phones: [String: Phone] = [:]
    private var vaults: UInt8 = 0

    init(control: Control, folder: URL) {
        self.control = control
        self.folder = folder
    }

    func step(_ step: String) async throws {
        let words = step.split(separator: " ").map(String.init)
        let rest = Array(words.dropFirst(2))
        switch (words[0], words.count > 1 ? words[1] : "") {
        case ("scene", _):
            try await endScene()
            scene = words.dropFirst().joined(separator: " ")
        case ("phone", let name): try await open(name, rest)
        case ("start", let name): try await start(name, rest)
        case ("stop", let name):
            try phone(name).isRunning = false
            try await phone(name).tracer.stop()
        case ("together", let minutes) where rest == ["min"]: try await together(number(minutes))
        case ("apart", let hours) where rest == ["h"]: try await apart(number(hours))
        case ("report", let name): try await report(name)
        case ("sync", let name): try await sync(name, rest)
        case ("backend", "publishes"): try await control.post("/publish")
        case ("backend", "down"), ("backend", "up"): try await control.post("/" + words[1])
        case ("radio", let name) where rest == ["off"] || rest == ["on"]: try phone(name).radio.turn(off: rest == ["off"])
        case ("disk", let name) where rest == ["full"] || rest == ["free"]:
            try await control.post("/disk?folder=\(phone(name).folder.path)&full=\(rest == ["full"])")
        case ("reopen", let name): try await reopen(name, rest)
        case ("erase", let name):
            try phone(name).isRunning = false
            if try await phone(name).tracer.eraseEverything() { throw Failure("somebody else reads the store") }
        case (let name, _): try await expect(name, Array(words.dropFirst()))
        }
    }

    /// Whatever was opened is ended, and nothing of it is left.
    func endScene() async throws {
        for phone in phones.values {
            await phone.close()
            try FileManager.default.removeItem(at: phone.folder)
        }
        phones.removeAll()
        guard let ended = scene else { return }
        scene = nil
        try await wait("objects are left") { liveObjects() == 0 }
        print("scene \(ended) ok")
    }

    private func open(_ name: String, _ options: [String]) async throws {
        let servers: String? = try await options.contains("servers") ? control.get("/client.json") : nil
        let clock = ManualClock(nowMs: try await control.now())
        let vault = options.contains("sealed") ? newVault() : nil
        phones[name] = try await Phone(folder: folder.appendingPathComponent(name), servers: servers, clock: clock, vault: vault)
    }

    private func reopen(_ name: String, _ options: [String]) async throws {
        let before = try self.phone(name)
        phones[name] = nil
        await before.close()
        let vault = options.contains("lost") ? newVault() : before.vault
        phones[name] = try await Phone(folder: before.folder, servers: before.servers, clock: before.clock, vault: vault)
    }

    private func newVault() -> MemoryVault {
        vaults += 1
        return MemoryVault(number: vaults)
    }

    private func start(_ name: String, _ expected: [String]) async throws {
        let phone = try self.phone(name)
        phone.isRunning = true
        let found = await failure { try await phone.tracer.start() }
        switch (found, expected) {
        case (nil, []), (.AdapterUnavailable, ["fails", "adapter", "unavailable"]), (.Storage(.full), ["fails", "storage", "full"]): return
        default: throw Failure("found \(String(describing: found))")
        }
    }

    private func report(_ name: String) async throws {
        let code = try await control.post("/code")
        let phone = try self.phone(name)
        phone.report = try await phone.tracer.report(code: code, details: ReportDetails())
    }

    private func sync(_ name: String, _ expected: [String]) async throws {
        let phone = try self.phone(name)
        let found = await failure { _ = try await phone.tracer.sync() }
        switch (found, expected) {
        case (nil, []), (.RetryAfter, ["fails", "retry", "after"]): return
        default: throw Failure("found \(String(describing: found))")
        }
    }

    /// Everybody near everybody, for so many minutes.
    private func together(_ minutes: UInt64) async throws {
        for _ in 0..<(minutes / 5) {
            let scans = phones.mapValues { $0.radio.state.scans }
            try await advance(5 * minuteMs)
            for (name, phone) in phones where phone.isRunning {
                try await wait("\(name) does not scan") { phone.radio.state.scans > scans[name, default: 0] }
            }
            try await hear()
            try await advance(5 * secondMs)
            for (name, phone) in phones where phone.isRunning {
                try await wait("\(name) scans on") { !phone.radio.state.isScanning }
            }
        }
    }

    private func hear() async throws {
        let now = try await control.now()
        let sent = phones.mapValues { $0.radio.state.sent }
        for (name, phone) in phones where phone.radio.state.isScanning {
            var results: [ScanResult] = []
            for (other, advertisement) in sent where other != name {
                guard let advertisement else { continue }
                results += (0..<4).map { second in
                    ScanResult(serviceData: advertisement.serviceData, rssi: -55, atMs: now + 1_000 * Int64(second), peer: nil)
                }
            }
            phone.radio.hear(results)
        }
    }

    private func apart(_ hours: UInt64) async throws {
        for _ in 0..<hours {
            try await advance(60 * minuteMs)
            // Each does what is due in this hour. A store that is full now says so where it is asked for.
            for phone in phones.values { _ = try? await phone.tracer.status() }
        }
    }

    private func advance(_ ms: UInt64) async throws {
        try await control.post("/advance?ms=\(ms)")
        for phone in phones.values {
            phone.clock.advance(ms: ms)
            phone.tracer.wake()
        }
    }

    private func expect(_ name: String, _ expected: [String]) async throws {
        let phone = try self.phone(name)
        switch expected {
        case ["report", "done"]:
            try await waitWhileTimePasses("the report is not done") {
                if case .done = try await self.reportState(phone) { return true } else { return false }
            }
        case ["report", "waiting"]:
            let state = try await reportState(phone)
            switch state {
            case .done, .refused: throw Failure("found \(state)")
            default: return
            }
        case ["alert", "high"]:
            try await wait("there is no high alert") { try await phone.tracer.alerts().contains { $0.level == .high } }
        case ["no", "alert"]:
            if !(try await phone.tracer.alerts().isEmpty) { throw Failure("there is an alert") }
        case ["radio", "problem", "none"], ["radio", "problem", "powered", "off"]:
            let found = try await phone.tracer.status().radioProblem
            if found != (expected.last == "none" ? nil : .poweredOff) { throw Failure("found \(String(describing: found))") }
        default:
            try await expectCounted(phone, expected)
        }
    }

    private func expectCounted(_ phone: Phone, _ expected: [String]) async throws {
        guard expected.count == 2 else { throw Failure("nobody knows this step") }
        switch expected[0] {
        case "told":
            try await waitWhileTimePasses("was not told") { phone.wasTold(expected[1]) }
        case "encounters":
            let least = try number(expected[1].replacingOccurrences(of: "+", with: ""))
            try await wait("not \(least) encounters") { try await phone.tracer.status().encounters >= least }
        default:
            throw Failure("nobody knows this step")
        }
    }

    private func reportState(_ phone: Phone) async throws -> ReportState {
        guard let report = try await phone.tracer.reports().first(where: { $0.id == phone.report }) else {
            throw Failure("there is no such report")
        }
        return report.state
    }

    private func phone(_ name: String) throws -> Phone {
        guard let phone = phones[name] else { throw Failure("there is no phone \(name)") }
        return phone
    }

    private func number(_ word: String) throws -> UInt64 {
        guard let number = UInt64(word) else { throw Failure("\(word) is no number") }
        return number
    }

    /// What a call throws of the library.
    private func failure(_ call: () async throws -> Void) async -> VigieError? {
        do {
            try await call()
            return nil
        } catch {
            return error as? VigieError ?? .Internal(code: 0)
        }
    }

    private func wait(_ otherwise: String, _ holds: () async throws -> Bool) async throws {
        let end = Date(timeIntervalSinceNow: patience)
        while !(try await holds()) {
            if Date() > end { throw Failure(otherwise) }
            try await Task.sleep(nanoseconds: 20_000_000)
        }
    }

    /// Lets time pass meanwhile: the steps of a report have gaps between them, and a radio that failed is tried again in some seconds.
    private func waitWhileTimePasses(_ otherwise: String, _ holds: () async throws -> Bool) async throws {
        let end = Date(timeIntervalSinceNow: patience)
        while !(try await holds()) {
            if Date() > end { throw Failure(otherwise) }
            try await advance(5 * secondMs)
            try await Task.sleep(nanoseconds: 100_000_000)
        }
    }
}
