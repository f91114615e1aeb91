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

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let grdb: Target.Dependency = .product(name: "GRDB", package: "GRDB.swift")
let grdbSQLite: Target.Dependency = .product(name: "GRDBSQLite", package: "GRDB.swift")
let httpClient: Target.Dependency = .product(name: "AsyncHTTPClient", package: "async-http-client")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let metrics: Target.Dependency = .product(name: "CoreMetrics", package: "swift-metrics")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let httpTypes: Target.Dependency = .product(name: "HTTPTypes", package: "swift-http-types")
let hummingbird: [Target.Dependency] = ["HummingbirdCore", "HummingbirdHTTP2", "HummingbirdTLS"].map {
    .product(name: $0, package: "hummingbird")
}
let signals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let toml: Target.Dependency = .product(name: "TOMLKit", package: "TOMLKit")
let tracing: Target.Dependency = .product(name: "Tracing", package: "swift-distributed-tracing")
let nio: [Target.Dependency] = ["NIOCore", "NIOHTTP1", "NIOPosix"].map { .product(name: $0, package: "swift-nio") }
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")

let package = Package(
    name: "snapwf",
    products: [
        .library(name: "Workflow", targets: ["Workflow"]),
        .library(name: "WorkflowTesting", targets: ["WorkflowTesting"]),
        .executable(name: "snapwf", targets: ["snapwf"]),
        .executable(name: "snapshot", targets: ["snapshot"]),
        .executable(name: "snapwf-agent", targets: ["snapwf-agent"]),
    ],
    dependencies: [
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0", traits: []),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        // The engine. It knows nothing of images, sandboxes or HTTP.
        .target(
            name: "WorkflowMigrations", path: "migrations/workflow",
            resources: [
                .embedInCode("v0001_initial.sql"), .embedInCode("v0002_queues.sql"), .embedInCode("v0003_standing.sql"),
            ],
            swiftSettings: settings),
        .target(
            name: "WorkflowPostgresMigrations", path: "migrations/workflow-postgres",
            resources: [
                .embedInCode("v0001_initial.sql"), .embedInCode("v0002_queues.sql"), .embedInCode("v0003_standing.sql"),
            ],
            swiftSettings: settings),
        // Not a system library, which would be linked: nothing of PostgreSQL is needed where SQLite keeps the runs.
        .target(name: "CPQ"),
        .target(
            name: "Workflow",
            dependencies: [
                "CPQ", "WorkflowMigrations", "WorkflowPostgresMigrations", grdb, grdbSQLite, logging, metrics, tracing,
            ],
            swiftSettings: settings),
        .target(name: "CFaultVFS", linkerSettings: [.linkedLibrary("sqlite3")]),
        .target(name: "WorkflowTesting", dependencies: ["CFaultVFS", "Workflow", logging], swiftSettings: settings),

        // The converter: what the helper is made of.
        // Not by pkg-config, which would put the system's directory before the one with the libraries to link statically.
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CZstd", providers: [.apt(["libzstd-dev"])]),
        .target(name: "CCRC32C"),
        // Not a system library, which would be linked: the helper has to start where ISA-L is missing.
        .target(name: "CISAL"),
        .target(name: "EXT4", dependencies: ["CCRC32C"], swiftSettings: settings),
        .target(
            name: "RootFS", dependencies: ["CISAL", "CZlib", "CZstd", "EXT4", "Threads", crypto],
            swiftSettings: settings),
        .target(
            name: "OCI", dependencies: ["Files", "Proxies", "Threads", crypto, httpClient, logging, nioSSL] + nio,
            swiftSettings: settings),

        // Snapshots as artifacts of a registry. It knows no file system and no workflow.
        .target(
            name: "Artifacts", dependencies: ["CZstd", "Files", "HelperInterface", "OCI", "Threads", crypto, logging],
            swiftSettings: settings),

        // What crosses the border between the workflow and its helper.
        .target(name: "Files", dependencies: ["Threads"], swiftSettings: settings),
        .target(name: "HelperInterface", dependencies: ["Files", "Threads", crypto], swiftSettings: settings),

        // What HTTP_PROXY and its like say, to whoever speaks HTTP.
        .target(name: "Proxies", swiftSettings: settings),

        // Blocking work that is done at the same time.
        .target(name: "Threads", swiftSettings: settings),

        // The Sandbox API: the protocol, the messages (generated: scripts/generate-protos), and any provider behind it.
        .target(
            name: "Connect",
            dependencies: [
                "CZlib", "Proxies", httpClient, httpTypes, logging, nioSSL, protobuf,
                .product(name: "NIOHTTP2", package: "swift-nio-http2"),
            ] + nio + hummingbird,
            swiftSettings: settings),
        .target(name: "SandboxAPI", dependencies: ["Connect", protobuf], swiftSettings: settings),

        // Sandboxes, and the workflow that runs in them.
        .target(name: "CLinux"),
        // What is said between a virtual machine's host and the agent in it. Both without Foundation.
        .target(name: "GuestProtocol", dependencies: ["CCRC32C"], swiftSettings: settings),
        .target(name: "CGuest"),
        .target(name: "GuestAgent", dependencies: ["CGuest", "GuestProtocol"], swiftSettings: settings),
        .target(
            name: "Sandbox",
            dependencies: ["CLinux", "Connect", "Files", "GuestProtocol", "SandboxAPI", logging, protobuf],
            swiftSettings: settings),
        .target(
            name: "SandboxServer",
            dependencies: ["Connect", "Files", "Sandbox", "SandboxAPI", "Threads", httpTypes, logging, protobuf] + nio
                + hummingbird,
            swiftSettings: settings),
        .target(
            name: "CatalogMigrations", path: "migrations/catalog",
            resources: [.embedInCode("v0001_snapshots.sql"), .embedInCode("v0002_names_and_origins.sql")],
            swiftSettings: settings),
        .target(
            name: "SharedCatalogMigrations", path: "migrations/catalog-postgres",
            resources: [.embedInCode("v0001_shared_catalog.sql")],
            swiftSettings: settings),
        .target(
            name: "SnapshotSteps",
            dependencies: [
                "Artifacts", "CatalogMigrations", "Files", "HelperInterface", "OCI", "Sandbox",
                "SharedCatalogMigrations", "Threads", "Workflow", grdb, logging,
            ],
            swiftSettings: settings),

        .executableTarget(
            name: "snapwf",
            dependencies: [
                "Artifacts", "Connect", "Files", "GuestProtocol", "HelperInterface", "OCI", "Sandbox", "SandboxServer",
                "SnapshotSteps", "Threads", "Workflow", argumentParser, crypto, logging, metrics, signals, toml,
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "snapshot",
            dependencies: [
                "Artifacts", "EXT4", "Files", "HelperInterface", "OCI", "RootFS", "Threads", argumentParser, logging,
            ],
            swiftSettings: settings),

        // The whole user space of a machine that is booted: nothing to load a library from.
        .executableTarget(
            name: "snapwf-agent", dependencies: ["GuestAgent"], swiftSettings: settings,
            linkerSettings: [.unsafeFlags(["-static-executable"])]),

        // Tests. The two programs among them are started as children: one to be killed, one as a sandbox's shim.
        .executableTarget(
            name: "WorkflowCrashChild", dependencies: ["Workflow", logging], path: "Tests/WorkflowCrashChild",
            swiftSettings: settings),
        .executableTarget(
            name: "SandboxShimHost", dependencies: ["Sandbox", logging], path: "Tests/SandboxShimHost",
            swiftSettings: settings),
        .testTarget(
            name: "WorkflowTests",
            dependencies: [
                "TestSupport", "Workflow", "WorkflowTesting", "WorkflowCrashChild", "WorkflowPostgresMigrations",
                grdb, logging, metrics,
                .product(name: "InMemoryTracing", package: "swift-distributed-tracing"),
                .product(name: "MetricsTestKit", package: "swift-metrics"), tracing,
            ],
            swiftSettings: settings),
        .testTarget(name: "EXT4Tests", dependencies: ["CCRC32C", "EXT4", "TestSupport"], swiftSettings: settings),
        .testTarget(
            name: "RootFSTests", dependencies: ["CZlib", "CZstd", "EXT4", "RootFS", "TestSupport", "Threads", crypto],
            swiftSettings: settings),
        .target(name: "CLineOutput", path: "Tests/CLineOutput"),
        .target(name: "TestSupport", dependencies: ["CLineOutput"], path: "Tests/TestSupport", swiftSettings: settings),
        .testTarget(
            name: "OCITests", dependencies: ["Files", "OCI", "Proxies", "TestSupport", crypto, logging] + nio,
            swiftSettings: settings),
        .testTarget(
            name: "ArtifactsTests",
            dependencies: ["Artifacts", "CZstd", "Files", "HelperInterface", "OCI", "TestSupport", crypto, logging],
            swiftSettings: settings),
        .testTarget(
            name: "SandboxTests",
            dependencies: [
                "CLinux", "Connect", "Files", "GuestProtocol", "Sandbox", "SandboxAPI", "SandboxServer",
                "SandboxShimHost", "TestSupport", logging, protobuf,
            ],
            swiftSettings: settings),
        .testTarget(
            name: "ConnectTests",
            dependencies: ["Connect", "Proxies", "TestSupport", httpClient, httpTypes, logging, nioSSL, protobuf] + nio,
            swiftSettings: settings),
        .testTarget(
            name: "SandboxServerTests",
            dependencies: [
                "Connect", "Files", "Sandbox", "SandboxAPI", "SandboxServer", "SandboxShimHost", "TestSupport", logging,
                protobuf,
            ] + nio,
            swiftSettings: settings),
        .testTarget(
            name: "GuestAgentTests", dependencies: ["GuestAgent", "GuestProtocol", "TestSupport"],
            exclude: ["Fixtures"],
            swiftSettings: settings),
        .testTarget(
            name: "GuestProtocolTests", dependencies: ["GuestProtocol", "TestSupport"], swiftSettings: settings),
        .testTarget(name: "FilesTests", dependencies: ["Files"], swiftSettings: settings),
        .testTarget(name: "ThreadsTests", dependencies: ["Threads"], swiftSettings: settings),
        .testTarget(
            name: "HelperInterfaceTests", dependencies: ["Files", "HelperInterface", crypto], swiftSettings: settings),
        .testTarget(
            name: "SnapshotStepsTests",
            dependencies: [
                "Connect", "Files", "HelperInterface", "OCI", "Sandbox", "SandboxShimHost", "SnapshotSteps",
                "TestSupport",
                "Workflow", "WorkflowTesting", grdb, logging,
            ],
            swiftSettings: settings),
        .testTarget(
            name: "SnapwfTests",
            dependencies: [
                "HelperInterface", "OCI", "Sandbox", "SnapshotSteps", "TestSupport", "Workflow", "snapwf",
                argumentParser, metrics,
            ],
            swiftSettings: settings),
        .testTarget(
            name: "EndToEndTests", dependencies: ["TestSupport"], exclude: ["Fixtures"], swiftSettings: settings),
    ]
)
