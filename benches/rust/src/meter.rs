//! Measures one workload and prints the line of JSON that scripts/bench reads.

use std::time::Instant;

use nix::sys::resource::{Usage, UsageWho, getrusage};

pub struct Meter {
    begun: Instant,
    cpu: f64,
    laps: Vec<f64>,
    pub ops: f64,
    pub bytes: f64,
    pub check: f64,
}

fn usage() -> Usage {
    getrusage(UsageWho::RUSAGE_SELF).expect("getrusage")
}

fn cpu() -> f64 {
    let usage = usage();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 * 1e-6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

impl Meter {
    pub fn begin() -> Meter {
        Meter { cpu: cpu(), laps: Vec::new(), ops: 0.0, bytes: 0.0, check: 0.0, begun: Instant::now() }
    }
    /// Times one operation.
    pub fn lap<T>(&mut self, operation: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = operation();
        self.lap_since(begun);
        result
    }
    pub fn lap_since(&mut self, begun: Instant) {
        self.laps.push(begun.elapsed().as_secs_f64());
    }
    pub fn report(mut self, client: &str, protocol: &str, workload: &str, params: &[String]) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let cpu = cpu() - self.cpu;
        self.laps.sort_by(f64::total_cmp);
        let quantile = |q: f64| self.laps.get((self.laps.len().saturating_sub(1) as f64 * q) as usize).map(|s| s * 1e6);
        let line = serde_json::json!({
            "client": client,
            "proto": protocol,
            "workload": workload,
            "params": params.join(" "),
            "seconds": seconds,
            "ops_per_s": self.ops / seconds,
            "mb_per_s": self.bytes / seconds / 1e6,
            "p50_us": quantile(0.5),
            "p99_us": quantile(0.99),
            "cpu_s": cpu,
            "max_rss_kb": usage().max_rss(),
            "check": self.check,
        });
        println!("{line}");
    }
}
