// swift-tools-version:5.9
// Programs in Swift that `cargo test -p ffi-tests --test swift` compiles and runs.
import PackageDescription

let package = Package(
    name: "VigieTests",
    platforms: [.macOS(.v12)],
    dependencies: [.package(name: "Vigie", path: "../../bindings/swift")],
    targets: [
        .executableTarget(name: "Scenario", dependencies: [.product(name: "Vigie", package: "Vigie")], path: "Sources/Scenario"),
        .executableTarget(name: "Errors", dependencies: [.product(name: "Vigie", package: "Vigie")], path: "Sources/Errors"),
    ]
)
