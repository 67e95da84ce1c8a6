// What others have published, and what earlier versions have written.

import Foundation
import Vigie

/// The key, the start and the metadata of the vectors, as their first lines name them.
private let key = "75c734c6dd1a782de7a965da5eb93125"
private let start: UInt32 = 2_642_976
private let metadata = "40080000"

/// 22 October 2020, 18:00 UTC.
private let nowMs: Int64 = 1_603_389_600_000

/// A file of the project.
private func file(_ path: String) throws -> URL {
    guard let root = ProcessInfo.processInfo.environment["VIGIE_ROOT"] else {
        throw Failure(text: "VIGIE_ROOT is not set; cargo test -p ffi-tests sets it")
    }
    return URL(fileURLWithPath: root).appendingPathComponent(path)
}

/// The file of the core's own test: offset from the rolling start, identifier, metadata.
func publishedVectorsHold() throws {
    let lines = try String(contentsOf: file("core/src/keys/vectors.txt"), encoding: .utf8).components(separatedBy: "\n")
    try check(lines.contains { $0.contains("TEK \(key), rolling start \(start), metadata \(metadata)") }, "vectors of another key")
    let vectors = lines.filter { !$0.isEmpty && !$0.hasPrefix("#") }
    try check(vectors.count == 144, "found \(vectors.count) vectors")
    for vector in vectors {
        let parts = vector.split(separator: " ").map(String.init)
        guard parts.count == 3, let offset = UInt32(parts[0]) else { throw Failure(text: "no vector: \(vector)") }
        let identifier = try rollingProximityIdentifier(key: bytes(key), interval: start + offset)
        try check(hex(identifier) == parts[1], "the identifier of interval \(offset)")
        let encrypted = try associatedEncryptedMetadata(key: bytes(key), interval: start + offset, metadata: bytes(metadata))
        try check(hex(encrypted) == parts[2], "the metadata of interval \(offset)")
    }
}

/// It holds a key and three encounters.
func storeOfTheFirstVersionOpens(_ folder: URL) async throws {
    let config = try Errors.config(folder, "first")
    try FileManager.default.copyItem(at: file("core/src/store/tests/version_1.db"), to: URL(fileURLWithPath: config.storePath))
    let tracer = try await Tracer.open(config: config, clock: ManualClock(nowMs: nowMs))
    let status = try await tracer.status()
    try check(status.ownKeys == 1 && status.encounters == 3, "found \(status.ownKeys) keys and \(status.encounters) encounters")
    await tracer.shutDown()
}

private func hex(_ data: Data) -> String {
    data.map { String(format: "%02x", Int($0)) }.joined()
}

private func bytes(_ hex: String) -> Data {
    let digits = Array(hex)
    return Data(stride(from: 0, to: digits.count, by: 2).compactMap { UInt8(String(digits[$0..<($0 + 2)]), radix: 16) })
}
