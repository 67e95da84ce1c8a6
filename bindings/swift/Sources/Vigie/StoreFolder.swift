// Where the store lies: in a folder of its own that no backup and no transfer to another phone takes along, because a copy would send the same identifiers.

import Foundation

/// The folder of the store.
public enum StoreFolder {
    /// A configuration with store and downloads below Application Support and Caches; folders are made where they are missing.
    ///
    /// On iOS the radio listens all the time: an app that ends a scan is suspended, and nothing would have it begin the next one.
    ///
    /// The store's folder is excluded from iCloud and computer backups (and so from a new phone that is set up from one), and its files can be read from the
    /// first unlock on, because the tracer works while the phone is locked.
    ///
    /// - Parameters:
    ///   - name: of both folders, one for one tracer.
    ///   - serversJson: the health authority's description of its servers (`client.json`).
    public static func config(name: String = "vigie", serversJson: String? = nil) throws -> Config {
        let files = FileManager.default
        // https://developer.apple.com/documentation/foundation/filemanager/url(for:in:appropriatefor:create:)
        let support = try files.url(for: .applicationSupportDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
        let caches = try files.url(for: .cachesDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
        let folder = try prepare(support.appendingPathComponent(name, isDirectory: true))
        #if os(iOS)
        // "Performing Long-Term Actions in the Background": iOS wakes a suspended app for what a scan hears that was begun and not ended.
        // https://developer.apple.com/library/archive/documentation/NetworkingInternetAudioVideo/Conceptual/CoreBluetooth_concepts/CoreBluetoothBackgroundProcessingForIOSApps/PerformingTasksWhileYourAppIsInTheBackground.html
        let scanning = Scanning.continuous
        #else
        let scanning = Scanning.periodic
        #endif
        return Config(
            storePath: folder.appendingPathComponent("store.db").path,
            downloadsPath: caches.appendingPathComponent(name, isDirectory: true).path,
            serversJson: serversJson,
            scanning: scanning
        )
    }

    /// Makes a folder for a store, with the same protection.
    public static func prepare(_ folder: URL) throws -> URL {
        let files = FileManager.default
        try files.createDirectory(at: folder, withIntermediateDirectories: true)
        #if os(iOS)
        // Files that are made in it have the same class.
        // https://developer.apple.com/documentation/foundation/fileprotectiontype/completeuntilfirstuserauthentication
        try files.setAttributes([.protectionKey: FileProtectionType.completeUntilFirstUserAuthentication], ofItemAtPath: folder.path)
        #endif
        #if canImport(Darwin)
        // Holds for all that is in the folder. https://developer.apple.com/documentation/foundation/urlresourcevalues/isexcludedfrombackup
        var values = URLResourceValues()
        values.isExcludedFromBackup = true
        var excluded = folder
        try excluded.setResourceValues(values)
        #endif
        return folder
    }
}
