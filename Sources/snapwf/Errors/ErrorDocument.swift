/// `snapwf … --json`, when it failed.
struct ErrorDocument: Encodable {
    struct Content: Encodable {
        let code: String
        let message: String
        let run: String?
        let step: String?
        let attempt: Int?
        let next: String?
        let exitCode: Int32
    }
    let schema = 1
    let error: Content
}
