// The radio over CoreBluetooth: a central that hears and connects, a peripheral that shows the service and serves the payload.
//
// ```text
// 16-bit service of the configuration (0xFD64)             advertised alone: iOS sends no service data
//   F26FE877-2AD9-4E24-8F90-E76022FAABBB   readable        RadioSink.payload, 21 bytes
//   77505958-11F1-4156-8608-84C57F9BB54A   writable        RadioSink.wrote, 22 bytes
// ```
//
// What iOS keeps for itself: when the device address changes (it cannot be asked for, so identifier and address do not change at one moment), and what
// is sent in the background (README.md says what that means). Info.plist needs NSBluetoothAlwaysUsageDescription, and `bluetooth-central` and
// `bluetooth-peripheral` under UIBackgroundModes.
//
// Checked against https://developer.apple.com/documentation/corebluetooth and the pages that are named beside each call.

#if canImport(CoreBluetooth)
import CoreBluetooth
import Foundation

/// The UUIDs of the exchange; the same on every platform.
enum GattUuid {
    static let payload = CBUUID(string: "F26FE877-2AD9-4E24-8F90-E76022FAABBB")
    static let writeBack = CBUUID(string: "77505958-11F1-4156-8608-84C57F9BB54A")

    /// https://developer.apple.com/documentation/corebluetooth/cbuuid/init(string:): four hexadecimal digits are a 16-bit UUID.
    static func service(_ short: UInt16) -> CBUUID {
        CBUUID(string: String(format: "%04X", Int(short)))
    }
}

/// The phone's Bluetooth, for `Tracer.open`.
///
/// Make it when the user has agreed to be traced (iOS asks for the permission at that moment), and from then on at each launch of the app, also one in the
/// background: iOS hands over what it kept for it, and wakes the app up again.
public final class CoreBluetoothRadio: NSObject, Radio, @unchecked Sendable {
    private let queue = DispatchQueue(label: "vigie.radio")
    private let hearing: Hearing
    private let serving: Serving

    /// - Parameter restoreIdentifier: names what iOS keeps for the app when it ends it; none where the app has no background modes.
    ///   https://developer.apple.com/documentation/corebluetooth/cbcentralmanageroptionrestoreidentifierkey
    public init(restoreIdentifier: String? = "vigie") {
        hearing = Hearing(queue: queue, restoreIdentifier: restoreIdentifier)
        serving = Serving(queue: queue, restoreIdentifier: restoreIdentifier)
        super.init()
    }

    /// Whether the user has forbidden it. https://developer.apple.com/documentation/corebluetooth/cbmanager/authorization-swift.type.property
    public static var permissionIsMissing: Bool {
        switch CBManager.authorization {
        case .denied, .restricted: return true
        default: return false
        }
    }

    public func attach(sink: RadioSink) {
        queue.sync {
            hearing.sink = sink
            serving.sink = sink
        }
    }

    public func detach() {
        hearing.endExchange()
        queue.sync {
            hearing.stop()
            serving.stop()
            hearing.sink = nil
            serving.sink = nil
        }
    }

    public func startScanning(services: [UInt16]) throws {
        try hearing.start(services: services)
    }

    public func stopScanning() {
        queue.sync { hearing.stop() }
    }

    public func advertise(advertisement: Advertisement) throws {
        try serving.start(service: advertisement.service)
    }

    public func stopAdvertising() {
        queue.sync { serving.stop() }
    }

    public func exchange(peer: String, service: UInt16, writeBack: Data) throws -> Data {
        try hearing.exchange(peer: peer, service: service, writeBack: writeBack)
    }
}

/// Waits for a manager to say how it stands, which it does not know when it is made.
final class Readiness: @unchecked Sendable {
    /// The library waits 10 s for a call in all.
    private static let patience: TimeInterval = 4
    private let condition = NSCondition()
    private var state = CBManagerState.unknown

    /// https://developer.apple.com/documentation/corebluetooth/cbmanagerstate
    func set(_ state: CBManagerState) {
        condition.lock()
        self.state = state
        condition.broadcast()
        condition.unlock()
    }

    /// Returns when the adapter is on, and throws where it is not. Not to be called on the radio's queue.
    func wait() throws {
        let end = Date(timeIntervalSinceNow: Readiness.patience)
        condition.lock()
        defer { condition.unlock() }
        while state == .unknown || state == .resetting {
            if !condition.wait(until: end) { break }
        }
        if let problem = Readiness.problem(state) { throw RadioError.Problem(problem: problem) }
    }

    static func problem(_ state: CBManagerState) -> RadioProblem? {
        switch state {
        case .poweredOn: return nil
        case .poweredOff: return .poweredOff
        case .unauthorized: return .permissionNeeded
        case .unsupported: return .unsupported
        default: return .failed(code: 0)
        }
    }
}

/// What an error of CoreBluetooth is to the library. https://developer.apple.com/documentation/corebluetooth/cberror
func radioProblem(_ error: Error) -> RadioProblem {
    .failed(code: Int32(truncatingIfNeeded: (error as NSError).code))
}

/// Now, as the library counts.
func nowMs() -> Int64 {
    Int64(Date().timeIntervalSince1970 * 1000)
}
#endif
