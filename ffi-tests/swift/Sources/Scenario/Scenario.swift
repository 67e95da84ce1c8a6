// The scenario in Swift, through the package that apps have. `cargo test -p ffi-tests --test swift` runs it; ../README.md explains the steps.

import Foundation

/// Why the scenario stops.
struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

@main
struct Scenario {
    static func main() async {
        do {
            try await run()
        } catch {
            FileHandle.standardError.write(Data("\(error)\n".utf8))
            exit(1)
        }
    }

    private static func run() async throws {
        let scenario = try String(contentsOfFile: variable("VIGIE_SCENARIO"), encoding: .utf8)
        let world = World(control: Control(url: try variable("VIGIE_CONTROL")), folder: URL(fileURLWithPath: try variable("VIGIE_FOLDER")))
        for (number, line) in scenario.components(separatedBy: "\n").enumerated() {
            let step = line.prefix { $0 != "#" }.trimmingCharacters(in: .whitespaces)
            if step.isEmpty { continue }
            do {
                try await world.step(step)
            } catch {
                throw Failure("line \(number + 1): \(step): \(error)")
            }
        }
        try await world.endScene()
    }

    private static func variable(_ name: String) throws -> String {
        guard let value = ProcessInfo.processInfo.environment[name] else {
            throw Failure("\(name) is not set; cargo test -p ffi-tests sets it")
        }
        return value
    }
}
