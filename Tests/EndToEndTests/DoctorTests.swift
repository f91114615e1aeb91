import Foundation
import Testing

extension EndToEnd {
    /// `snapwf doctor` where something is missing, as a person meets it.
    @Suite(.serialized)
    struct Doctor {
        @Test("an image that can be read is told with its digest, one that cannot fails with what to do")
        func image() async throws {
            let installation = try Installation()
            let layout = try await Images.shared.smallLayout()
            let well = try await installation.snapwf("doctor", "oci:\(layout):latest")
            #expect(well.status == 0 && well.output.contains("sha256:"), "\(well.everything)")
            // Nobody listens at port 1.
            let silent = try await installation.snapwf("doctor", "-q", "127.0.0.1:1/a/b:1")
            #expect(silent.status == 1, "\(silent.everything)")
            #expect(silent.output.contains("FAIL  image"), "\(silent.everything)")
            #expect(silent.output.contains("curl -sSI http://127.0.0.1:1/v2/"), "\(silent.everything)")
            let nonsense = try await installation.snapwf("doctor", "UPPER:::")
            #expect(nonsense.status == 64, "\(nonsense.everything)")
            #expect(installation.names(in: "") == [], "something was made")
        }

        @Test("an API that a flag names and that does not answer fails, and the token is nowhere")
        func api() async throws {
            let installation = try Installation()
            let token = "secret-of-the-doctor"
            let doctor = try await installation.snapwf(
                "doctor", "--api", "http://127.0.0.1:1", environment: ["SNAPWF_TOKEN": token])
            #expect(doctor.status == 1, "\(doctor.everything)")
            #expect(doctor.output.contains("FAIL  Sandbox API"), "\(doctor.everything)")
            #expect(!doctor.everything.contains(token))
        }

        @Test("without the helper and without QEMU it says what to install, and without HOME where the state may be")
        func missing() async throws {
            let installation = try Installation()
            let doctor = try await installation.snapwf(
                "doctor", "-q", "--sandbox", "vm",
                environment: ["SNAPWF_HELPER": "/no/helper", "SNAPWF_QEMU": "/no/qemu", "SNAPWF_KERNEL": "/no/kernel"])
            #expect(doctor.status == 1, "\(doctor.everything)")
            for name in ["helper", "QEMU", "guest kernel"] {
                #expect(doctor.output.contains("FAIL  \(name)"), "\(doctor.everything)")
            }
            let homeless = try await installation.snapwf(
                "doctor", environment: ["SNAPWF_HOME": "", "XDG_STATE_HOME": "", "HOME": ""])
            #expect(homeless.status != 0 && homeless.errors.contains("SNAPWF_HOME="), "\(homeless.everything)")
        }
    }
}
