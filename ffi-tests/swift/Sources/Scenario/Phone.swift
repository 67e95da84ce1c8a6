// One phone of the scenario: a tracer, a simulated radio, a clock that stands until it is told, and the package's own transport.

import Foundation
import Vigie

final class Phone: @unchecked Sendable {
    let folder: URL
    let servers: String?
    let clock: ManualClock
    let radio: SimulatedRadio
    let vault: MemoryVault?
    let tracer: Tracer
    var report: Int64?
    var isRunning = false
    private let events: EventList
    private let listener: Task<Void, Never>

    init(folder: URL, servers: String?, clock: ManualClock, vault: MemoryVault?) async throws {
        let radio = SimulatedRadio()
        let prepared = try StoreFolder.prepare(folder)
        let config = Config(
            storePath: prepared.appendingPathComponent("store.db").path,
            downloadsPath: prepared.appendingPathComponent("downloads").path,
            serversJson: servers
        )
        let transport: Transport? = servers == nil ? nil : UrlSessionTransport()
        let tracer = try await Tracer.open(config: config, radio: radio, transport: transport, vault: vault, clock: clock)
        let events = EventList()
        let sequence = tracer.events
        listener = Task {
            for await event in sequence { events.append(event) }
        }
        self.folder = folder
        self.servers = servers
        self.clock = clock
        self.radio = radio
        self.vault = vault
        self.tracer = tracer
        self.events = events
    }

    /// Ends it in order.
    func close() async {
        await tracer.shutDown()
        await listener.value
    }

    func wasTold(_ word: String) -> Bool {
        events.words.contains(word)
    }
}

/// What a phone was told.
private final class EventList: @unchecked Sendable {
    private let mutex = NSLock()
    private var told: [String] = []

    var words: [String] {
        mutex.lock()
        defer { mutex.unlock() }
        return told
    }

    func append(_ event: Event) {
        mutex.lock()
        defer { mutex.unlock() }
        told.append(word(event))
    }
}

private func word(_ event: Event) -> String {
    switch event {
    case .radioFailed: return "radio_failed"
    case .radioResumed: return "radio_resumed"
    case .keysLost: return "keys_lost"
    case .rotated: return "rotated"
    case .reportChanged: return "report_changed"
    case .alertRaised: return "alert_raised"
    case .erased: return "erased"
    case .storeRecovered: return "store_recovered"
    default: return "other"
    }
}
