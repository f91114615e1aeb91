import Files

extension VMProvider {
    /// The QEMU that guests are started with: the one that was named, else the one in `PATH`.
    package static func qemu(_ named: String?) throws(SandboxError) -> String { try QEMUCommand.locate(named) }

    /// Whether KVM runs a guest here, by the boot of one.
    ///
    /// - Returns: why it does not; `nil` where it does.
    package func acceleratorTrouble() async throws -> String? {
        try await onOwnThread { () throws(SandboxError) -> String? in
            let verdict = try machine().verdict
            return verdict.accelerator == .kvm ? nil : verdict.note ?? "KVM not used"
        }
    }
}
