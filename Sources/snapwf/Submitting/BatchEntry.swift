import FoundationEssentials
import SnapshotSteps

/// One image of a batch, and what is said of it alone: each key as the flag of the same name.
struct BatchEntry: Decodable, Equatable {
    /// Why a line is none.
    struct Malformed: Error {
        let why: String
    }

    let image: String
    var size: String?
    var verity: Bool?
    var platform: String?
    var verifyBoot: Bool?
    var output: String?
    var name: String?
    var label: [String: String]?
    var push: String?
    var register: String?
    var vcpus: Int?
    var memory: String?
    var disk: String?
    var ttl: String?
    var builderImage: String?
    var timeout: String?
    var force: Bool?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case image, size, verity, platform, output, name, label, push, register, vcpus, memory, disk, ttl, timeout,
            force
        case verifyBoot = "verify-boot"
        case builderImage = "builder-image"
    }

    /// - Parameter line: without space around it, and not empty.
    init(parsing line: String) throws(Malformed) {
        guard line.hasPrefix("{") else {
            if line.contains(where: \.isWhitespace) {
                throw Malformed(
                    why: "a reference has no spaces; flags of one image are JSON: {\"image\": \"app:1\", …}")
            }
            image = line
            return
        }
        do {
            self = try JSONDecoder().decode(BatchEntry.self, from: Data(line.utf8))
        } catch let error as Malformed {
            throw error
        } catch let error as DecodingError {
            throw Malformed(why: Self.words(error))
        } catch {
            throw Malformed(why: "it is no JSON object")
        }
    }

    init(from decoder: any Decoder) throws {
        for key in try decoder.container(keyedBy: AnyKey.self).allKeys
        where CodingKeys(rawValue: key.stringValue) == nil {
            let near = nearest(key.stringValue, among: CodingKeys.allCases.map(\.rawValue))
            throw Malformed(
                why: "\"\(key.stringValue)\" is no flag of an image" + (near.map { "; did you mean \"\($0)\"?" } ?? ""))
        }
        let values = try decoder.container(keyedBy: CodingKeys.self)
        image = try values.decode(String.self, forKey: .image)
        size = try values.decodeIfPresent(String.self, forKey: .size)
        verity = try values.decodeIfPresent(Bool.self, forKey: .verity)
        platform = try values.decodeIfPresent(String.self, forKey: .platform)
        verifyBoot = try values.decodeIfPresent(Bool.self, forKey: .verifyBoot)
        output = try values.decodeIfPresent(String.self, forKey: .output)
        name = try values.decodeIfPresent(String.self, forKey: .name)
        label = try values.decodeIfPresent([String: String].self, forKey: .label)
        push = try values.decodeIfPresent(String.self, forKey: .push)
        register = try values.decodeIfPresent(String.self, forKey: .register)
        vcpus = try values.decodeIfPresent(Int.self, forKey: .vcpus)
        memory = try values.decodeIfPresent(String.self, forKey: .memory)
        disk = try values.decodeIfPresent(String.self, forKey: .disk)
        ttl = try values.decodeIfPresent(String.self, forKey: .ttl)
        builderImage = try values.decodeIfPresent(String.self, forKey: .builderImage)
        timeout = try values.decodeIfPresent(String.self, forKey: .timeout)
        force = try values.decodeIfPresent(Bool.self, forKey: .force)
    }

    private struct AnyKey: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    private static func words(_ error: DecodingError) -> String {
        switch error {
        case .keyNotFound(let key, _): "it lacks \"\(key.stringValue)\""
        case .typeMismatch(let wanted, let context), .valueNotFound(let wanted, let context):
            "\"\(path(context))\" must be \(word(for: wanted))"
        default: "it is no JSON object"
        }
    }

    private static func path(_ context: DecodingError.Context) -> String {
        context.codingPath.isEmpty ? "it" : context.codingPath.map { $0.stringValue }.joined(separator: ".")
    }

    private static func word(for type: Any.Type) -> String {
        switch type {
        case is Bool.Type: "true or false"
        case is Int.Type: "a whole number"
        case is String.Type: "a text"
        default: "an object of texts"
        }
    }
}
