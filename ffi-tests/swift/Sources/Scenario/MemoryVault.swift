// A key vault that stands in memory. No cipher: what is tested is who asks for what, and when; KeychainVault.swift has the real one.

import Foundation
import Vigie

final class MemoryVault: KeyVault, @unchecked Sendable {
    private let key: UInt8

    /// One with another key than those with other numbers.
    init(number: UInt8) {
        key = number
    }

    func wrap(dataKey: Data) throws -> Data {
        Data([key] + dataKey.map { $0 ^ key })
    }

    func unwrap(wrapped: Data) throws -> Data {
        guard wrapped.first == key else { throw VaultError.Problem(problem: .keyLost) }
        return Data(wrapped.dropFirst().map { $0 ^ key })
    }
}
