// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let package = Package(
    name: "Postcards",
    dependencies: [.package(name: "snapwf", path: "../..")],
    targets: [
        .executableTarget(
            name: "postcards", dependencies: [.product(name: "Workflow", package: "snapwf")],
            swiftSettings: settings)
    ]
)
