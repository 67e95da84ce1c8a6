// The sample app: one screen that starts and stops tracing, says how it stands, and asks servers.
//
// Not a part of the package. In Xcode: a new iOS app, this package added, these files and Info.plist in the place of what Xcode made.

import SwiftUI
import Vigie

@main
struct SampleApp: App {
    @StateObject private var model = Model.shared
    @Environment(\.scenePhase) private var phase

    init() {
        // Before the app has finished launching: the system may have woken it up for this, or for Bluetooth.
        BackgroundTasks.register { await Model.shared.tracerIfAgreed() }
        Model.shared.resume()
    }

    var body: some Scene {
        WindowGroup {
            Screen(model: model)
        }
        .onChange(of: phase) { phase in
            if phase == .background { BackgroundTasks.schedule() }
        }
    }
}

/// Holds the one tracer of the app.
@MainActor
final class Model: ObservableObject {
    static let shared = Model()

    @Published private(set) var status: Status?
    @Published private(set) var message = ""
    private var opening: Task<Tracer, Error>?
    private var listener: Task<Void, Never>?
    /// Made when it is first needed, because iOS asks for the permission at that moment.
    private lazy var radio = CoreBluetoothRadio()
    /// In the user defaults: whether the user has agreed to be traced, and whether tracing is wanted now. A tracer that was opened is stopped.
    private let agreed = "agreed"
    private let wanted = "wanted"

    /// The tracer, opened at the first call, and started where tracing is wanted; none where the user has not agreed.
    func tracerIfAgreed() async -> Tracer? {
        guard isOn(agreed), let tracer = try? await self.tracer() else { return nil }
        try? await goOn(tracer)
        return tracer
    }

    /// At each launch, also one for Bluetooth or a background task, and whenever the app is looked at: goes on where tracing is wanted. The radio is made at
    /// once, so that iOS hands over what it kept for it.
    func resume() {
        guard isOn(agreed) else { return }
        _ = radio
        act { try await self.goOn($0) }
    }

    func start() {
        UserDefaults.standard.set(true, forKey: agreed)
        UserDefaults.standard.set(true, forKey: wanted)
        act { try await $0.start() }
    }

    func stop() {
        UserDefaults.standard.set(false, forKey: wanted)
        if isOn(agreed) { act { try await $0.stop() } }
    }

    func sync() {
        if isOn(agreed) { act { _ = try await $0.sync() } }
    }

    private func goOn(_ tracer: Tracer) async throws {
        if isOn(wanted) { try await tracer.start() }
    }

    private func isOn(_ key: String) -> Bool {
        UserDefaults.standard.bool(forKey: key)
    }

    private func tracer() async throws -> Tracer {
        if let opening { return try await opening.value }
        let radio = self.radio
        let work = Task {
            // The health authority's servers; without this file the app traces, and asks nobody.
            let servers = Bundle.main.url(forResource: "client", withExtension: "json").flatMap { try? String(contentsOf: $0, encoding: .utf8) }
            return try await Tracer.open(
                config: StoreFolder.config(serversJson: servers),
                radio: radio,
                transport: UrlSessionTransport(),
                vault: KeychainVault()
            )
        }
        opening = work
        do {
            let tracer = try await work.value
            listen(to: tracer)
            return tracer
        } catch {
            // The next call tries again: the phone may have been locked since it was started.
            opening = nil
            throw error
        }
    }

    private func listen(to tracer: Tracer) {
        let events = tracer.events
        listener = Task { [weak self] in
            for await event in events {
                if case .alertRaised = event { self?.message = "You were near somebody who was infected." }
                self?.act { _ in }
            }
        }
    }

    private func act(_ work: @escaping (Tracer) async throws -> Void) {
        Task {
            do {
                let tracer = try await self.tracer()
                try await work(tracer)
                status = try await tracer.status()
            } catch let error as VigieError {
                message = text(error)
            } catch {
                message = error.localizedDescription
            }
        }
    }

    private func text(_ error: VigieError) -> String {
        switch error {
        case .PermissionNeeded: return "Allow Bluetooth in Settings."
        case .AdapterUnavailable: return "Switch Bluetooth on."
        case .RetryAfter(let seconds): return "The servers are asked again in \(seconds) s."
        case .InputInvalid(let input): return "Wrong: \(input)."
        case .Storage(let problem): return problem == .full ? "Free some space." : "The store: \(problem)."
        case .Internal(let code): return "Internal error \(code)."
        }
    }
}

struct Screen: View {
    @ObservedObject var model: Model

    var body: some View {
        List {
            Section("Tracing") {
                row("State", model.status.map { "\($0.tracing)" } ?? "not started")
                row("Sends", model.status?.isSending == true ? "yes" : "no")
                row("Encounters today", "\(model.status?.encountersToday ?? 0)")
                row("Warnings", "\(model.status?.openAlerts ?? 0)")
                if let problem = model.status?.radioProblem { row("Radio", "\(problem)") }
            }
            Section {
                Button("Start", action: model.start)
                Button("Stop", action: model.stop)
                Button("Ask servers now", action: model.sync)
            }
            if !model.message.isEmpty { Section { Text(model.message) } }
            Section {
                Text("While both are locked, two iPhones do not hear each other. Open the app now and then.").font(.footnote)
            }
        }
        .onAppear(perform: model.resume)
    }

    private func row(_ title: String, _ value: String) -> some View {
        HStack {
            Text(title)
            Spacer()
            Text(value).foregroundColor(.secondary)
        }
    }
}
