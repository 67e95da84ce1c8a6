// The vault over the Keychain: a random 256-bit key that stays on this device, and AES-256-GCM of CryptoKit under it.
//
// The key lies in the Keychain as a generic password that is readable from the first unlock on, also while the phone is locked, and that goes into no
// backup and to no other device. The Secure Enclave keeps keys of P-256 alone; the Keychain's own file is sealed with a key of the enclave.

#if canImport(CryptoKit) && canImport(Security)
import CryptoKit
import Foundation
import Security

/// Wraps the key that the store is sealed with, for `Tracer.open`.
public final class KeychainVault: KeyVault, @unchecked Sendable {
    private let lock = NSLock()
    private let service: String

    /// - Parameter service: names the key in the Keychain of the app.
    public init(service: String = "vigie.store") {
        self.service = service
    }

    public func wrap(dataKey: Data) throws -> Data {
        lock.lock()
        defer { lock.unlock() }
        let key = try read() ?? create()
        // https://developer.apple.com/documentation/cryptokit/aes/gcm/seal(_:using:nonce:): nonce, ciphertext and tag together in `combined`.
        guard let sealed = try? AES.GCM.seal(dataKey, using: key).combined else { throw VaultError.Problem(problem: .failed) }
        return sealed
    }

    public func unwrap(wrapped: Data) throws -> Data {
        lock.lock()
        defer { lock.unlock() }
        guard let key = try read() else { throw VaultError.Problem(problem: .keyLost) }
        // https://developer.apple.com/documentation/cryptokit/aes/gcm/open(_:using:): what it cannot open was wrapped with another key.
        guard let box = try? AES.GCM.SealedBox(combined: wrapped), let opened = try? AES.GCM.open(box, using: key) else {
            throw VaultError.Problem(problem: .keyLost)
        }
        return opened
    }

    /// Removes the key: what was sealed with it is lost. For an app that is uninstalled from within; the Keychain outlives an app.
    public func forget() {
        lock.lock()
        defer { lock.unlock() }
        // https://developer.apple.com/documentation/security/secitemdelete(_:)
        SecItemDelete(query() as CFDictionary)
    }

    private func query() -> [CFString: Any] {
        [
            kSecClass: kSecClassGenericPassword,
            kSecAttrService: service,
            kSecAttrAccount: "key",
            // On macOS, too, the Keychain of iOS: https://developer.apple.com/documentation/security/ksecusedataprotectionkeychain
            kSecUseDataProtectionKeychain: true,
        ]
    }

    /// None where there is no key. https://developer.apple.com/documentation/security/secitemcopymatching(_:_:)
    private func read() throws -> SymmetricKey? {
        var found: CFTypeRef?
        let asked = query().merging([kSecReturnData: true, kSecMatchLimit: kSecMatchLimitOne]) { $1 }
        let status = SecItemCopyMatching(asked as CFDictionary, &found)
        if status == errSecItemNotFound { return nil }
        try KeychainVault.check(status)
        guard let bytes = found as? Data, bytes.count == 32 else { throw VaultError.Problem(problem: .keyLost) }
        return SymmetricKey(data: bytes)
    }

    private func create() throws -> SymmetricKey {
        let key = SymmetricKey(size: .bits256)
        let added = query().merging([
            kSecValueData: key.withUnsafeBytes { Data($0) },
            // https://developer.apple.com/documentation/security/ksecattraccessibleafterfirstunlockthisdeviceonly
            kSecAttrAccessible: kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly,
            kSecAttrSynchronizable: false,
        ]) { $1 }
        // https://developer.apple.com/documentation/security/secitemadd(_:_:)
        try KeychainVault.check(SecItemAdd(added as CFDictionary, nil))
        return key
    }

    /// https://developer.apple.com/documentation/security/errsecinteractionnotallowed: the phone was not unlocked yet.
    private static func check(_ status: OSStatus) throws {
        switch status {
        case errSecSuccess: return
        case errSecInteractionNotAllowed: throw VaultError.Problem(problem: .locked)
        default: throw VaultError.Problem(problem: .failed)
        }
    }
}
#endif
