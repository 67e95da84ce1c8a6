// A radio that is simulated: what it sends is looked at, and what it hears is handed to it.

import Foundation
import Vigie

final class SimulatedRadio: Radio, @unchecked Sendable {
    struct State {
        var sink: RadioSink?
        var sent: Advertisement?
        var isScanning = false
        /// How often it was told to scan.
        var scans = 0
        var isOff = false
    }

    private let mutex = NSLock()
    private var inner = State()

    var state: State {
        change { $0 }
    }

    /// What others sent comes to it.
    func hear(_ results: [ScanResult]) {
        state.sink?.heard(results: results)
    }

    /// The user switches it off, or on again.
    func turn(off: Bool) {
        let sink: RadioSink? = change { state in
            state.isOff = off
            if off {
                state.sent = nil
                state.isScanning = false
            }
            return state.sink
        }
        if off {
            sink?.scanningFailed(problem: .poweredOff)
            sink?.advertisingFailed(problem: .poweredOff)
        }
    }

    func attach(sink: RadioSink) {
        change { $0.sink = sink }
    }

    func detach() {
        change { $0.sink = nil }
    }

    func startScanning(services: [UInt16]) throws {
        try changeWhereOn { state in
            state.isScanning = true
            state.scans += 1
        }
    }

    func stopScanning() {
        change { $0.isScanning = false }
    }

    func advertise(advertisement: Advertisement) throws {
        try changeWhereOn { $0.sent = advertisement }
    }

    func stopAdvertising() {
        change { $0.sent = nil }
    }

    func exchange(peer: String, service: UInt16, writeBack: Data) throws -> Data {
        throw RadioError.Problem(problem: .unsupported)
    }

    @discardableResult
    private func change<Found>(_ work: (inout State) -> Found) -> Found {
        mutex.lock()
        defer { mutex.unlock() }
        return work(&inner)
    }

    private func changeWhereOn(_ work: (inout State) -> Void) throws {
        let isOff: Bool = change { state in
            if !state.isOff { work(&state) }
            return state.isOff
        }
        if isOff { throw RadioError.Problem(problem: .poweredOff) }
    }
}
