import CoreMetrics
import Testing

@testable import snapwf

/// The page of metrics, as Prometheus reads it.
struct MetricsRegistryTests {
    @Test("counters, gauges and histograms are printed with their types, labels sorted and escaped")
    func page() {
        let registry = MetricsRegistry(help: ["a.b": "line\none \\ two"])
        registry.makeCounter(label: "a.b", dimensions: [("z", "1"), ("q-1", "say \"hi\"\n\\")]).increment(by: 3)
        registry.makeMeter(label: "g", dimensions: []).set(1.5)
        let timer = registry.makeTimer(label: "t", dimensions: [])
        timer.recordNanoseconds(2_000_000)
        timer.recordNanoseconds(3_600_000_000_000_000)
        let page = registry.page()
        #expect(page.hasPrefix("# HELP a_b_total line\\none \\\\ two\n# TYPE a_b_total counter\n"))
        #expect(page.contains("\na_b_total{q_1=\"say \\\"hi\\\"\\n\\\\\",z=\"1\"} 3\n"))
        #expect(page.contains("\n# TYPE g gauge\ng 1.5\n"))
        #expect(page.contains("\nt_seconds_bucket{le=\"0.001\"} 0\nt_seconds_bucket{le=\"0.0025\"} 1\n"))
        #expect(page.contains("\nt_seconds_bucket{le=\"7200\"} 1\nt_seconds_bucket{le=\"+Inf\"} 2\n"))
        #expect(page.contains("\nt_seconds_sum 3600000.002\nt_seconds_count 2\n"))
    }

    @Test(
        "the same label and dimensions are the same series, in whatever order, and numbers of other kinds are left out")
    func series() {
        let registry = MetricsRegistry()
        registry.makeCounter(label: "c", dimensions: [("a", "1"), ("b", "2")]).increment(by: 1)
        registry.makeCounter(label: "c", dimensions: [("b", "2"), ("a", "1")]).increment(by: 1)
        registry.makeMeter(label: "c_total", dimensions: []).set(7.0)
        #expect(registry.page().contains("\nc_total{a=\"1\",b=\"2\"} 2\n"))
        #expect(!registry.page().contains(" 7\n") && registry.page().contains("snapwf_metrics_dropped_total 1\n"))
    }

    @Test("there is an end to how many series are kept")
    func limit() {
        let registry = MetricsRegistry()
        for number in 0..<(MetricsRegistry.seriesLimit + 5) {
            registry.makeCounter(label: "c", dimensions: [("n", "\(number)")]).increment(by: 1)
        }
        let page = registry.page()
        #expect(page.split(separator: "\n").count { $0.hasPrefix("c_total{") } == MetricsRegistry.seriesLimit)
        #expect(page.contains("snapwf_metrics_dropped_total 5\n"))
    }

    @Test("numbers are written so that they are read as they were")
    func numbers() {
        #expect([0, 1, -2, 1e14].map(Exposition.number) == ["0", "1", "-2", "100000000000000"])
        #expect([.infinity, -.infinity, .nan].map(Exposition.number) == ["+Inf", "-Inf", "NaN"])
        #expect(Exposition.number(0.25) == "0.25" && Double(Exposition.number(1e300)) == 1e300)
        #expect(Exposition.name("1 a.b-c") == "_1_a_b_c" && Exposition.labelName("a:b") == "a_b")
    }
}
