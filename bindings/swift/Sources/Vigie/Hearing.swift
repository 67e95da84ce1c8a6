// The central's half of the radio: hears packets, and connects to those who show the service alone.

#if canImport(CoreBluetooth)
import CoreBluetooth
import Foundation

/// Everything but `start`, `exchange` and `endExchange` happens on the queue.
final class Hearing: NSObject, @unchecked Sendable {
    /// What is heard is handed over so often, or when it is so much.
    private static let batchPeriod = DispatchTimeInterval.milliseconds(250)
    private static let batchSize = 256

    /// https://developer.apple.com/documentation/corebluetooth/cbcentralmanagerdelegate/centralmanager(_:diddiscover:advertisementdata:rssi:): 127 where
    /// the strength is not known.
    private static let unknownRssi = 127

    /// In the background iOS hands over a device once in a scan. One that is as old as this is begun anew at the next packet of anybody, and hears all who are
    /// near; no oftener, because each begins with a packet of each.
    private static let longestScan: TimeInterval = 4 * 60

    var sink: RadioSink?
    private let queue: DispatchQueue
    private let readiness = Readiness()
    private var central: CBCentralManager!
    private var services: [CBUUID] = []
    private var isScanning = false
    private var scansSince = Date.distantPast
    private var batch: [ScanResult] = []
    private var running: Exchange?
    /// Connections of a process before.
    private var leftovers: [CBPeripheral] = []

    init(queue: DispatchQueue, restoreIdentifier: String?) {
        self.queue = queue
        super.init()
        // No alert where Bluetooth is off: the app shows it. https://developer.apple.com/documentation/corebluetooth/cbcentralmanager/init(delegate:queue:options:)
        var options: [String: Any] = [CBCentralManagerOptionShowPowerAlertKey: false]
        #if os(iOS)
        options[CBCentralManagerOptionRestoreIdentifierKey] = restoreIdentifier.map { $0 + ".central" }
        #endif
        central = CBCentralManager(delegate: self, queue: queue, options: options)
    }

    func start(services: [UInt16]) throws {
        try readiness.wait()
        queue.sync {
            self.services = services.map(GattUuid.service)
            isScanning = true
            scan()
        }
    }

    private func scan() {
        scansSince = Date()
        // In the background iOS wants the services, and hands over one packet of a device, not each.
        // https://developer.apple.com/documentation/corebluetooth/cbcentralmanager/scanforperipherals(withservices:options:)
        central.scanForPeripherals(withServices: services, options: [CBCentralManagerScanOptionAllowDuplicatesKey: true])
    }

    private func scanAnewWhereOld() {
        guard abs(scansSince.timeIntervalSinceNow) > Hearing.longestScan, central.state == .poweredOn else { return }
        central.stopScan()
        scan()
    }

    func stop() {
        // https://developer.apple.com/documentation/corebluetooth/cbcentralmanager/stopscan(): only where it is on; else the call is misuse.
        if isScanning, central.state == .poweredOn { central.stopScan() }
        isScanning = false
        handOver()
    }

    /// Blocks until the peer has answered, or 9 s are over. Not to be called on the queue.
    func exchange(peer: String, service: UInt16, writeBack: Data) throws -> Data {
        try readiness.wait()
        let mine = Exchange(service: GattUuid.service(service), writeBack: writeBack)
        let begun: Bool = queue.sync {
            // https://developer.apple.com/documentation/corebluetooth/cbcentralmanager/retrieveperipherals(withidentifiers:): who was heard is known.
            guard running == nil, let identifier = UUID(uuidString: peer),
                let peripheral = central.retrievePeripherals(withIdentifiers: [identifier]).first, peripheral.state == .disconnected
            else { return false }
            running = mine
            mine.begin(peripheral)
            // https://developer.apple.com/documentation/corebluetooth/cbcentralmanager/connect(_:options:): never times out by itself.
            central.connect(peripheral, options: nil)
            return true
        }
        guard begun else { throw RadioError.Problem(problem: .failed(code: 0)) }
        mine.waitForEnd()
        return try queue.sync {
            running = nil
            if let peripheral = mine.peripheral, central.state == .poweredOn {
                // https://developer.apple.com/documentation/corebluetooth/cbcentralmanager/cancelperipheralconnection(_:)
                central.cancelPeripheralConnection(peripheral)
            }
            return try mine.answer()
        }
    }

    /// Ends the exchange that is going on, if any. Not to be called on the queue.
    func endExchange() {
        queue.sync { running?.end(.failed(code: 0)) }
    }

    private func hear(_ result: ScanResult) {
        if batch.isEmpty {
            queue.asyncAfter(deadline: .now() + Hearing.batchPeriod) { [weak self] in self?.handOver() }
        }
        batch.append(result)
        if batch.count >= Hearing.batchSize { handOver() }
    }

    private func handOver() {
        if !batch.isEmpty { sink?.heard(results: batch) }
        batch.removeAll(keepingCapacity: true)
    }
}

extension Hearing: CBCentralManagerDelegate {
    // https://developer.apple.com/documentation/corebluetooth/cbcentralmanagerdelegate/centralmanagerdidupdatestate(_:)
    func centralManagerDidUpdateState(_ central: CBCentralManager) {
        readiness.set(central.state)
        if central.state == .poweredOn {
            leftovers.forEach { central.cancelPeripheralConnection($0) }
            leftovers.removeAll()
        }
        guard central.state != .unknown, let problem = Readiness.problem(central.state) else { return }
        running?.end(problem)
        if isScanning {
            isScanning = false
            sink?.scanningFailed(problem: problem)
        }
    }

    #if os(iOS)
    // https://developer.apple.com/documentation/corebluetooth/cbcentralmanagerdelegate/centralmanager(_:willrestorestate:): scanning went on while the app
    // did not run; the tracer begins it anew when it is started. Connections of the process before are nobody's, and are ended when the adapter is known to
    // be on: this comes first.
    func centralManager(_ central: CBCentralManager, willRestoreState dict: [String: Any]) {
        leftovers = dict[CBCentralManagerRestoredStatePeripheralsKey] as? [CBPeripheral] ?? []
    }
    #endif

    // https://developer.apple.com/documentation/corebluetooth/cbcentralmanagerdelegate/centralmanager(_:diddiscover:advertisementdata:rssi:)
    func centralManager(
        _ central: CBCentralManager,
        didDiscover peripheral: CBPeripheral,
        advertisementData: [String: Any],
        rssi RSSI: NSNumber
    ) {
        guard isScanning else { return }
        scanAnewWhereOld()
        guard RSSI.intValue != Hearing.unknownRssi, let rssi = Int8(exactly: RSSI.intValue) else { return }
        // https://developer.apple.com/documentation/corebluetooth/cbadvertisementdataservicedatakey
        let data = advertisementData[CBAdvertisementDataServiceDataKey] as? [CBUUID: Data] ?? [:]
        if let frame = services.compactMap({ data[$0] }).first {
            hear(ScanResult(serviceData: frame, rssi: rssi, atMs: nowMs(), peer: nil))
            return
        }
        // An iPhone in the background shows its services in the overflow area, and only to who asks for them.
        // https://developer.apple.com/documentation/corebluetooth/cbadvertisementdataoverflowserviceuuidskey
        let shown = [CBAdvertisementDataServiceUUIDsKey, CBAdvertisementDataOverflowServiceUUIDsKey]
            .flatMap { advertisementData[$0] as? [CBUUID] ?? [] }
        let isConnectable = (advertisementData[CBAdvertisementDataIsConnectable] as? NSNumber)?.boolValue ?? true
        guard isConnectable, services.contains(where: shown.contains) else { return }
        hear(ScanResult(serviceData: Data(), rssi: rssi, atMs: nowMs(), peer: peripheral.identifier.uuidString))
    }

    // https://developer.apple.com/documentation/corebluetooth/cbcentralmanagerdelegate/centralmanager(_:didconnect:)
    func centralManager(_ central: CBCentralManager, didConnect peripheral: CBPeripheral) {
        guard let running, running.peripheral === peripheral else { return }
        running.connected()
    }

    // https://developer.apple.com/documentation/corebluetooth/cbcentralmanagerdelegate/centralmanager(_:didfailtoconnect:error:)
    func centralManager(_ central: CBCentralManager, didFailToConnect peripheral: CBPeripheral, error: Error?) {
        guard let running, running.peripheral === peripheral else { return }
        running.end(error.map(radioProblem) ?? .failed(code: 0))
    }

    // https://developer.apple.com/documentation/corebluetooth/cbcentralmanagerdelegate/centralmanager(_:diddisconnectperipheral:error:)
    func centralManager(_ central: CBCentralManager, didDisconnectPeripheral peripheral: CBPeripheral, error: Error?) {
        guard let running, running.peripheral === peripheral else { return }
        running.end(error.map(radioProblem) ?? .failed(code: 0))
    }
}

/// One connection: connect, read the payload, write back, part. Everything but `waitForEnd` happens on the queue.
final class Exchange: NSObject, CBPeripheralDelegate, @unchecked Sendable {
    private static let patience = DispatchTimeInterval.seconds(9 - 4)
    private let service: CBUUID
    private let writeBack: Data
    private let ended = DispatchSemaphore(value: 0)
    private var hasEnded = false
    private var payload: Data?
    private var problem = RadioProblem.failed(code: 0)
    private(set) var peripheral: CBPeripheral?

    init(service: CBUUID, writeBack: Data) {
        self.service = service
        self.writeBack = writeBack
    }

    func begin(_ peripheral: CBPeripheral) {
        self.peripheral = peripheral
        peripheral.delegate = self
    }

    func waitForEnd() {
        _ = ended.wait(timeout: .now() + Exchange.patience)
    }

    func end(_ problem: RadioProblem) {
        if hasEnded { return }
        hasEnded = true
        self.problem = problem
        ended.signal()
    }

    /// What was read counts, whatever became of the rest: we know who it is.
    func answer() throws -> Data {
        hasEnded = true
        peripheral?.delegate = nil
        guard let payload else { throw RadioError.Problem(problem: problem) }
        return payload
    }

    // https://developer.apple.com/documentation/corebluetooth/cbperipheral/discoverservices(_:)
    func connected() {
        peripheral?.discoverServices([service])
    }

    // https://developer.apple.com/documentation/corebluetooth/cbperipheraldelegate/peripheral(_:diddiscoverservices:)
    func peripheral(_ peripheral: CBPeripheral, didDiscoverServices error: Error?) {
        guard let found = peripheral.services?.first(where: { $0.uuid == service }) else { return end(error.map(radioProblem) ?? .unsupported) }
        // https://developer.apple.com/documentation/corebluetooth/cbperipheral/discovercharacteristics(_:for:)
        peripheral.discoverCharacteristics([GattUuid.payload, GattUuid.writeBack], for: found)
    }

    // https://developer.apple.com/documentation/corebluetooth/cbperipheraldelegate/peripheral(_:diddiscovercharacteristicsfor:error:)
    func peripheral(_ peripheral: CBPeripheral, didDiscoverCharacteristicsFor service: CBService, error: Error?) {
        guard let readable = service.characteristics?.first(where: { $0.uuid == GattUuid.payload }) else {
            return end(error.map(radioProblem) ?? .unsupported)
        }
        // https://developer.apple.com/documentation/corebluetooth/cbperipheral/readvalue(for:)-6u1xi
        peripheral.readValue(for: readable)
    }

    // https://developer.apple.com/documentation/corebluetooth/cbperipheraldelegate/peripheral(_:didupdatevaluefor:error:)-1xyna
    func peripheral(_ peripheral: CBPeripheral, didUpdateValueFor characteristic: CBCharacteristic, error: Error?) {
        guard !hasEnded, payload == nil, characteristic.uuid == GattUuid.payload else { return }
        guard error == nil, let value = characteristic.value else { return end(error.map(radioProblem) ?? .failed(code: 0)) }
        payload = value
        // This phone sends nothing now: the other one is heard, and not told of it.
        if writeBack.isEmpty { return end(.failed(code: 0)) }
        let others = characteristic.service?.characteristics ?? []
        guard let writable = others.first(where: { $0.uuid == GattUuid.writeBack }) else { return end(.unsupported) }
        // https://developer.apple.com/documentation/corebluetooth/cbperipheral/writevalue(_:for:type:): 22 bytes; iOS makes a long write of it where the
        // connection carries less.
        peripheral.writeValue(writeBack, for: writable, type: .withResponse)
    }

    // https://developer.apple.com/documentation/corebluetooth/cbperipheraldelegate/peripheral(_:didwritevaluefor:error:)-86lk2
    func peripheral(_ peripheral: CBPeripheral, didWriteValueFor characteristic: CBCharacteristic, error: Error?) {
        end(error.map(radioProblem) ?? .failed(code: 0))
    }
}
#endif
