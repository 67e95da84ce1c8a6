// The peripheral's half of the radio: shows the service, serves the payload to who connects, and takes what is written back.

#if canImport(CoreBluetooth)
import CoreBluetooth
import Foundation

/// Everything but `start` happens on the queue.
final class Serving: NSObject, @unchecked Sendable {
    /// To publish the service, and to begin to send: each.
    private static let patience = DispatchTimeInterval.seconds(2)
    /// Centrals that are served during one identifier, at most, and writes of each: parts of one, and a repetition.
    private static let maxCentrals = 256
    private static let maxWrites = 8
    /// A write-back has as many bytes.
    private static let writeBackLength = 22
    /// Who read the identifier before is told nothing for so long: iOS does not say who is still connected, and under one connection there is one identifier.
    private static let staleFor: TimeInterval = 60

    var sink: RadioSink?
    private let queue: DispatchQueue
    private let readiness = Readiness()
    private var manager: CBPeripheralManager!
    /// The service that is published, and what it was made with.
    private var published: CBUUID?
    private var isWanted = false
    /// What a call waits for.
    private var pending: Pending?
    private var centrals: [UUID: Dealings] = [:]
    private var stale: Set<UUID> = []
    private var changedAt = Date.distantPast

    /// What a central has done during this identifier.
    private struct Dealings {
        var hasRead = false
        var writes = 0
    }

    /// What CoreBluetooth answers later.
    private enum Step: Equatable {
        case publish(CBUUID)
        case advertise
    }

    /// One such step that is waited for.
    private final class Pending: @unchecked Sendable {
        let step: Step
        let answered = DispatchSemaphore(value: 0)
        var error: Error?

        init(_ step: Step) {
            self.step = step
        }
    }

    init(queue: DispatchQueue, restoreIdentifier: String?) {
        self.queue = queue
        super.init()
        // https://developer.apple.com/documentation/corebluetooth/cbperipheralmanager/init(delegate:queue:options:)
        var options: [String: Any] = [CBPeripheralManagerOptionShowPowerAlertKey: false]
        #if os(iOS)
        options[CBPeripheralManagerOptionRestoreIdentifierKey] = restoreIdentifier.map { $0 + ".peripheral" }
        #endif
        manager = CBPeripheralManager(delegate: self, queue: queue, options: options)
    }

    /// Begins anew: who knows us by the identifier before is not told the next one.
    func start(service short: UInt16) throws {
        try readiness.wait()
        let service = GattUuid.service(short)
        queue.sync { change() }
        if queue.sync(execute: { published != service }) {
            try wait(for: .publish(service)) { manager in
                // https://developer.apple.com/documentation/corebluetooth/cbperipheralmanager/removeallservices()
                manager.removeAllServices()
                self.published = nil
                // https://developer.apple.com/documentation/corebluetooth/cbperipheralmanager/add(_:)
                manager.add(Serving.definition(service))
            }
            queue.sync { published = service }
        }
        try wait(for: .advertise) { manager in
            self.isWanted = true
            // iOS takes name and services alone. https://developer.apple.com/documentation/corebluetooth/cbperipheralmanager/startadvertising(_:)
            manager.startAdvertising([CBAdvertisementDataServiceUUIDsKey: [service]])
        }
    }

    func stop() {
        isWanted = false
        // https://developer.apple.com/documentation/corebluetooth/cbperipheralmanager/stopadvertising()
        if manager.state == .poweredOn { manager.stopAdvertising() }
    }

    /// A value of nil has each read asked of us. https://developer.apple.com/documentation/corebluetooth/cbmutablecharacteristic/init(type:properties:value:permissions:)
    private static func definition(_ uuid: CBUUID) -> CBMutableService {
        let service = CBMutableService(type: uuid, primary: true)
        service.characteristics = [
            CBMutableCharacteristic(type: GattUuid.payload, properties: [.read], value: nil, permissions: [.readable]),
            CBMutableCharacteristic(type: GattUuid.writeBack, properties: [.write], value: nil, permissions: [.writeable]),
        ]
        return service
    }

    private func change() {
        stop()
        stale = Set(centrals.filter { $0.value.hasRead }.keys)
        changedAt = Date()
        centrals.removeAll()
    }

    /// Does something that is answered by a call of the delegate, and waits for that.
    private func wait(for step: Step, _ work: (CBPeripheralManager) -> Void) throws {
        let mine = Pending(step)
        queue.sync {
            pending = mine
            work(manager)
        }
        let isAnswered = mine.answered.wait(timeout: .now() + Serving.patience) == .success
        let error: Error? = queue.sync {
            if pending === mine { pending = nil }
            return mine.error
        }
        if let error { throw RadioError.Problem(problem: radioProblem(error)) }
        if !isAnswered { throw RadioError.Problem(problem: .failed(code: 0)) }
    }

    /// The answer to another step comes too late: nobody waits for it any more.
    private func answer(_ step: Step, _ error: Error?) {
        guard let pending, pending.step == step else { return }
        pending.error = error
        pending.answered.signal()
        self.pending = nil
    }

    private func mayBeServed(_ central: CBCentral) -> Bool {
        if Date().timeIntervalSince(changedAt) > Serving.staleFor { stale.removeAll() }
        let identifier = central.identifier
        return isWanted && !stale.contains(identifier) && (centrals[identifier] != nil || centrals.count < Serving.maxCentrals)
    }

    /// The parts of one write together; nil where they leave a hole, or are too many.
    private static func whole(_ requests: [CBATTRequest]) -> Data? {
        var value = Data()
        for request in requests {
            guard let part = request.value, request.offset == value.count, value.count + part.count <= writeBackLength else { return nil }
            value.append(part)
        }
        return value.count == writeBackLength ? value : nil
    }

    private func take(_ requests: [CBATTRequest], from central: CBCentral) -> CBATTError.Code {
        guard let sink, mayBeServed(central), centrals[central.identifier]?.writes ?? 0 < Serving.maxWrites else { return .writeNotPermitted }
        centrals[central.identifier, default: Dealings()].writes += 1
        guard requests.allSatisfy({ $0.characteristic.uuid == GattUuid.writeBack }) else { return .writeNotPermitted }
        guard let value = Serving.whole(requests) else { return .invalidAttributeValueLength }
        do {
            // Kept also where our own identifier is too old to be read: it is the peer's that comes.
            try sink.wrote(value: value, atMs: nowMs())
            return .success
        } catch {
            return .requestNotSupported
        }
    }
}

extension Serving: CBPeripheralManagerDelegate {
    // https://developer.apple.com/documentation/corebluetooth/cbperipheralmanagerdelegate/peripheralmanagerdidupdatestate(_:): where it goes off, services
    // and advertisement are gone.
    func peripheralManagerDidUpdateState(_ peripheral: CBPeripheralManager) {
        readiness.set(peripheral.state)
        guard peripheral.state != .unknown, let problem = Readiness.problem(peripheral.state) else { return }
        published = nil
        if isWanted {
            isWanted = false
            sink?.advertisingFailed(problem: problem)
        }
    }

    #if os(iOS)
    // https://developer.apple.com/documentation/corebluetooth/cbperipheralmanagerdelegate/peripheralmanager(_:willrestorestate:): what was served before is
    // published anew by the next `start`; until then `payload` is empty, and reads are refused.
    func peripheralManager(_ peripheral: CBPeripheralManager, willRestoreState dict: [String: Any]) {
        published = nil
    }
    #endif

    // https://developer.apple.com/documentation/corebluetooth/cbperipheralmanagerdelegate/peripheralmanager(_:didadd:error:)
    func peripheralManager(_ peripheral: CBPeripheralManager, didAdd service: CBService, error: Error?) {
        answer(.publish(service.uuid), error)
    }

    // https://developer.apple.com/documentation/corebluetooth/cbperipheralmanagerdelegate/peripheralmanagerdidstartadvertising(_:error:)
    func peripheralManagerDidStartAdvertising(_ peripheral: CBPeripheralManager, error: Error?) {
        answer(.advertise, error)
    }

    // https://developer.apple.com/documentation/corebluetooth/cbperipheralmanagerdelegate/peripheralmanager(_:didreceiveread:)
    func peripheralManager(_ peripheral: CBPeripheralManager, didReceiveRead request: CBATTRequest) {
        guard request.characteristic.uuid == GattUuid.payload, mayBeServed(request.central) else {
            return peripheral.respond(to: request, withResult: .readNotPermitted)
        }
        // Empty where the app was suspended for so long that the identifier is too old: asking for it has woken the library, which sends the next one. Who was
        // told nothing may ask again then. https://developer.apple.com/documentation/corebluetooth/cbatterror/code
        guard let payload = sink?.payload(), !payload.isEmpty else { return peripheral.respond(to: request, withResult: .unlikelyError) }
        guard request.offset <= payload.count else { return peripheral.respond(to: request, withResult: .invalidOffset) }
        centrals[request.central.identifier, default: Dealings()].hasRead = true
        request.value = payload.dropFirst(request.offset).withUnsafeBytes { Data($0) }
        // https://developer.apple.com/documentation/corebluetooth/cbperipheralmanager/respond(to:withresult:)
        peripheral.respond(to: request, withResult: .success)
    }

    // https://developer.apple.com/documentation/corebluetooth/cbperipheralmanagerdelegate/peripheralmanager(_:didreceivewrite:): several requests are one
    // write, and are answered once, at the first.
    func peripheralManager(_ peripheral: CBPeripheralManager, didReceiveWrite requests: [CBATTRequest]) {
        guard let first = requests.first else { return }
        peripheral.respond(to: first, withResult: take(requests, from: first.central))
    }
}
#endif
