// swift-tools-version:5.9
// Vigie for apps in Swift. On Apple's systems the library comes as VigieLibrary.xcframework, which build-xcframework.sh makes beside this file; on Linux
// it is libvigie_ffi.so, and whoever builds says where it lies: `swift build -Xlinker -L<folder>`.
import PackageDescription

#if os(Linux)
let library: [Target] = []
let libraryDependencies: [Target.Dependency] = ["VigieFFIC"]
let libraryLinks: [LinkerSetting] = [.linkedLibrary("vigie_ffi")]
#else
let library: [Target] = [.binaryTarget(name: "VigieLibrary", path: "VigieLibrary.xcframework")]
let libraryDependencies: [Target.Dependency] = ["VigieFFIC", "VigieLibrary"]
let libraryLinks: [LinkerSetting] = []
#endif

let package = Package(
    name: "Vigie",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "Vigie", targets: ["Vigie"])],
    targets: library + [
        // The border in C, generated.
        .target(name: "VigieFFIC", path: "Sources/VigieFFIC", publicHeadersPath: "include"),
        // The same in Swift, generated.
        .target(name: "VigieFFI", dependencies: libraryDependencies, path: "Sources/VigieFFI", linkerSettings: libraryLinks),
        // What apps import.
        .target(name: "Vigie", dependencies: ["VigieFFI"], path: "Sources/Vigie"),
    ]
)
