// The vault over the Keychain: a key of P-256 that never leaves the Secure Enclave, and ECIES under it.
//
// ```text
// offset  length
//      0      32   SHA-256 of the public key that it is wrapped with
//     32      65   public key of one time, uncompressed    these three are what SecKeyCreateEncryptedData gives:
//     97      32   the data key, AES-GCM                   eciesEncryptionCofactorVariableIVX963SHA256AESGCM
//    129      16   tag
// ```
//
// The key can be used from the first unlock on, also while the phone is locked, and goes into no backup and to no other device. Where there is no Secure
// Enclave (simulator, old Macs) it is a key of the Keychain that may not be exported: less, because the app's own process computes with it.
// https://developer.apple.com/documentation/security/protecting-keys-with-the-secure-enclave

#if canImport(CryptoKit) && canImport(Security)
import CryptoKit
import Foundation
import Security

/// Wraps the key that the store is sealed with, for `Tracer.open`.
public final class KeychainVault: KeyVault, @unchecked Sendable {
    /// https://developer.apple.com/documentation/security/seckeyalgorithm/eciesencryptioncofactorvariableivx963sha256aesgcm
    private static let algorithm = SecKeyAlgorithm.eciesEncryptionCofactorVariableIVX963SHA256AESGCM

    private let lock = NSLock()
    private let service: String

    /// - Parameter service: names the key in the Keychain of the app.
    public init(service: String = "vigie.store") {
        self.service = service
    }

    public func wrap(dataKey: Data) throws -> Data {
        lock.lock()
        defer { lock.unlock() }
        let publicKey = try KeychainVault.publicKey(try read() ?? create())
        var error: Unmanaged<CFError>?
        // https://developer.apple.com/documentation/security/seckeycreateencrypteddata(_:_:_:_:)
        guard let sealed = SecKeyCreateEncryptedData(publicKey, KeychainVault.algorithm, dataKey as CFData, &error) else {
            throw KeychainVault.problem(error)
        }
        return try KeychainVault.name(publicKey) + (sealed as Data)
    }

    public func unwrap(wrapped: Data) throws -> Data {
        lock.lock()
        defer { lock.unlock() }
        guard let key = try read() else { throw VaultError.Problem(problem: .keyLost) }
        // Wrapped with a key that is gone: this one was made after it.
        let name = try KeychainVault.name(KeychainVault.publicKey(key))
        guard wrapped.starts(with: name) else { throw VaultError.Problem(problem: .keyLost) }
        var error: Unmanaged<CFError>?
        // https://developer.apple.com/documentation/security/seckeycreatedecrypteddata(_:_:_:_:): what fails here may pass, for the key is there.
        guard let opened = SecKeyCreateDecryptedData(key, KeychainVault.algorithm, Data(wrapped.dropFirst(name.count)) as CFData, &error) else {
            throw KeychainVault.problem(error)
        }
        return opened as Data
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
            kSecClass: kSecClassKey,
            kSecAttrKeyClass: kSecAttrKeyClassPrivate,
            kSecAttrKeyType: kSecAttrKeyTypeECSECPrimeRandom,
            kSecAttrApplicationTag: Data(service.utf8),
            // On macOS, too, the Keychain of iOS: https://developer.apple.com/documentation/security/ksecusedataprotectionkeychain
            kSecUseDataProtectionKeychain: true,
        ]
    }

    /// A reference to the key, not the key; none where there is none. https://developer.apple.com/documentation/security/secitemcopymatching(_:_:)
    private func read() throws -> SecKey? {
        var found: CFTypeRef?
        let asked = query().merging([kSecReturnRef: true, kSecMatchLimit: kSecMatchLimitOne]) { $1 }
        let status = SecItemCopyMatching(asked as CFDictionary, &found)
        if status == errSecItemNotFound { return nil }
        guard status == errSecSuccess else { throw KeychainVault.problem(Int(status)) }
        guard let found, CFGetTypeID(found) == SecKeyGetTypeID() else { throw VaultError.Problem(problem: .failed) }
        // Swift refuses `as?` for a type of Core Foundation; which one it is was looked at.
        return (found as! SecKey)
    }

    private func create() throws -> SecKey {
        let hasEnclave = KeychainVault.hasEnclave
        var error: Unmanaged<CFError>?
        // https://developer.apple.com/documentation/security/secaccesscontrolcreateflags/privatekeyusage: of keys of the enclave alone.
        let flags: SecAccessControlCreateFlags = hasEnclave ? .privateKeyUsage : []
        // https://developer.apple.com/documentation/security/secaccesscontrolcreatewithflags(_:_:_:_:) with
        // https://developer.apple.com/documentation/security/ksecattraccessibleafterfirstunlockthisdeviceonly
        guard let access = SecAccessControlCreateWithFlags(nil, kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly, flags, &error) else {
            throw KeychainVault.problem(error)
        }
        var ofPrivate: [CFString: Any] = [
            kSecAttrIsPermanent: true,
            kSecAttrApplicationTag: Data(service.utf8),
            kSecAttrAccessControl: access,
        ]
        var attributes: [CFString: Any] = [
            kSecAttrKeyType: kSecAttrKeyTypeECSECPrimeRandom,
            kSecAttrKeySizeInBits: 256,
            kSecUseDataProtectionKeychain: true,
        ]
        if hasEnclave {
            // https://developer.apple.com/documentation/security/ksecattrtokenidsecureenclave
            attributes[kSecAttrTokenID] = kSecAttrTokenIDSecureEnclave
        } else {
            // https://developer.apple.com/documentation/security/ksecattrisextractable
            ofPrivate[kSecAttrIsExtractable] = false
        }
        attributes[kSecPrivateKeyAttrs] = ofPrivate
        // https://developer.apple.com/documentation/security/seckeycreaterandomkey(_:_:)
        guard let key = SecKeyCreateRandomKey(attributes as CFDictionary, &error) else { throw KeychainVault.problem(error) }
        return key
    }

    /// https://developer.apple.com/documentation/cryptokit/secureenclave/isavailable
    private static var hasEnclave: Bool {
        #if targetEnvironment(simulator)
        return false
        #else
        return SecureEnclave.isAvailable
        #endif
    }

    /// https://developer.apple.com/documentation/security/seckeycopypublickey(_:)
    private static func publicKey(_ key: SecKey) throws -> SecKey {
        guard let publicKey = SecKeyCopyPublicKey(key) else { throw VaultError.Problem(problem: .failed) }
        return publicKey
    }

    /// Tells keys apart. https://developer.apple.com/documentation/security/seckeycopyexternalrepresentation(_:_:)
    private static func name(_ publicKey: SecKey) throws -> Data {
        var error: Unmanaged<CFError>?
        guard let bytes = SecKeyCopyExternalRepresentation(publicKey, &error) else { throw problem(error) }
        return Data(SHA256.hash(data: bytes as Data))
    }

    private static func problem(_ error: Unmanaged<CFError>?) -> VaultError {
        problem(error.map { CFErrorGetCode($0.takeRetainedValue()) } ?? 0)
    }

    /// https://developer.apple.com/documentation/security/errsecinteractionnotallowed: the phone was not unlocked yet.
    private static func problem(_ code: Int) -> VaultError {
        .Problem(problem: code == Int(errSecInteractionNotAllowed) ? .locked : .failed)
    }
}
#endif
