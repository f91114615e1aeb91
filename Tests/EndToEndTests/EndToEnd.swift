import Testing

/// Everything that drives the programs as a user does: one at a time, because each takes both cores.
@Suite(.serialized)
enum EndToEnd {}
