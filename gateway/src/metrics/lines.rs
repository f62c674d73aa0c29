//! What each line counts, looked at when it is asked for: lines come and go with the configuration.

use crate::session::work::Priority;
use crate::session::{LineStatus, Router};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Lines(pub Router);

/// One number of a line: name, explanation, value.
type Number = (&'static str, &'static str, fn(&LineStatus) -> u64);

const COUNTERS: [Number; 5] = [
    ("line_work", "Pieces of work begun on a line", |line| line.work),
    ("line_answers", "Pieces of work in which the meter answered", |line| line.answered),
    ("line_timeouts", "Pieces of work that ended in a meter's silence", |line| line.timeouts),
    ("line_turned_away", "Jobs answered without being begun", |line| line.turned_away),
    ("line_associations", "Associations opened with DLMS meters", |line| line.associations),
];

const GAUGES: [Number; 3] = [
    ("line_up", "1 unless the port or connection of a bus is broken", |line| u64::from(line.up)),
    (
        "line_meters_silent",
        "Meters left alone for a while because they were silent (circuit breaker open)",
        |line| line.meters_silent as u64,
    ),
    ("line_budget_bytes_per_second", "Bytes a second that a wire can carry; 0 on a network", |line| {
        u64::from(line.budget_bytes_per_s.unwrap_or(0))
    }),
];

impl Collector for Lines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let lines = self.0.status();
        if lines.is_empty() {
            return Ok(());
        }
        for (name, help, value) in COUNTERS {
            let counters =
                lines.iter().map(|line| ([("line", line.line.as_str())], ConstCounter::new(value(line))));
            family(&mut encoder, name, help, MetricType::Counter, counters)?;
        }
        for (name, help, value) in GAUGES {
            let gauges = lines.iter().map(|line| ([("line", line.line.as_str())], gauge(value(line))));
            family(&mut encoder, name, help, MetricType::Gauge, gauges)?;
        }
        let bytes = lines.iter().flat_map(|line| {
            [("sent", line.traffic.sent_bytes), ("received", line.traffic.received_bytes)].map(
                |(direction, bytes)| {
                    ([("line", line.line.as_str()), ("direction", direction)], ConstCounter::new(bytes))
                },
            )
        });
        family(&mut encoder, "line_bytes", "Bytes that crossed a line", MetricType::Counter, bytes)?;
        let busy = lines.iter().map(|line| {
            let seconds = Duration::from_nanos(line.busy_ns).as_secs_f64();
            ([("line", line.line.as_str())], ConstCounter::new(seconds))
        });
        let help = "Time spent on work; its rate is the busy share, on a network the number of meters talked to at once";
        family(&mut encoder, "line_busy_seconds", help, MetricType::Counter, busy)?;
        let waiting = lines.iter().flat_map(|line| {
            Priority::ALL.map(|priority| {
                let jobs = line.jobs_waiting[priority.index()] as u64;
                ([("line", line.line.as_str()), ("priority", priority.name())], gauge(jobs))
            })
        });
        family(&mut encoder, "line_jobs_waiting", "Jobs in a line's queue", MetricType::Gauge, waiting)
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

fn family<'a, const N: usize, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    members: impl Iterator<Item = ([(&'a str, &'a str); N], M)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in members {
        value.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
