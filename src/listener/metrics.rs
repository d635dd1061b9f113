//! The relay's metrics in the format of Prometheus.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::hub::Totals;
use crate::metrics::{Counts, Tables};
use crate::session::Shared;
use crate::store::StoreStats;

/// Returns all metrics in the OpenMetrics text format. Nothing is cached: scrapes are seconds apart.
pub fn render(shared: &Shared) -> String {
    let mut registry = Registry::with_prefix("websocket_relay");
    let totals = shared.hub.totals();
    let Totals { registered, channels, queued_messages, queued_bytes, .. } = totals;
    for (name, help, value) in [
        (
            "connections",
            "Connections that are open, also those that have not authenticated",
            shared.metrics.connections(),
        ),
        ("registered_clients", "Clients that are registered", registered),
        ("channels", "Channels that are registered", channels),
        ("queued_messages", "Messages that wait for their recipients", queued_messages),
        ("queued_bytes", "Bytes that wait for their recipients, overhead included", queued_bytes),
    ] {
        registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    }
    for (name, help, value) in [
        ("relayed_messages", "Messages that were taken from their senders", totals.relayed_messages),
        ("relayed_bytes", "Bytes of messages that were taken from their senders", totals.relayed_bytes),
        ("dropped_events", "Events that did not fit the queue to JavaScript", shared.events.dropped()),
        ("panics", "Bugs of the relay that ended a connection", shared.metrics.panics()),
    ] {
        registry.register(name, help, ConstCounter::new(value));
    }
    let Tables { offences, rejected, turned_away, closed } = shared.metrics.by_code();
    let closed = closed.into_iter().map(|(code, count)| (code.to_string(), count)).collect();
    for (name, help, label, counts) in [
        ("offences", "What clients did wrong, by code", "code", to_labels(offences)),
        (
            "rejected_messages",
            "Messages that were refused for good, or have expired, by code",
            "code",
            to_labels(rejected),
        ),
        ("turned_away", "Clients that were not let in, by reason", "reason", to_labels(turned_away)),
        (
            "closed_connections",
            "WebSockets that were not ended by their clients, by close code",
            "code",
            closed,
        ),
    ] {
        registry.register(name, help, counter_family(label, counts));
    }
    if let Some(stats) = shared.hub.store_stats() {
        register_store(&mut registry, stats);
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    encode(&mut text, &registry).ok();
    text
}

/// Adds what a store on disk counts.
fn register_store(
    registry: &mut Registry,
    StoreStats { committed, skipped, pending_bytes, last_commit_micros }: StoreStats,
) {
    let pending = ConstGauge::new(i64::try_from(pending_bytes).unwrap_or(i64::MAX));
    let last_commit = ConstGauge::new(Duration::from_micros(last_commit_micros).as_secs_f64());
    let unit = Unit::Seconds;
    registry.register(
        "store_committed_messages",
        "Messages that were written to the store",
        ConstCounter::new(committed),
    );
    registry.register(
        "store_skipped_messages",
        "Messages that were received before they had to be written",
        ConstCounter::new(skipped),
    );
    registry.register(
        "store_pending_bytes",
        "Bytes that wait to be written or received, overhead included",
        pending,
    );
    registry.register_with_unit("store_last_commit", "How long the last commit took", unit, last_commit);
}

fn to_labels(counts: Counts) -> Vec<(String, u64)> {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

fn counter_family(
    label: &'static str,
    counts: Vec<(String, u64)>,
) -> Family<Vec<(&'static str, String)>, Counter> {
    let family = Family::<_, Counter>::default();
    for (code, count) in counts {
        family.get_or_create(&vec![(label, code)]).inc_by(count);
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_a_store_counts() {
        let mut registry = Registry::with_prefix("websocket_relay");
        let stats = StoreStats { committed: 7, skipped: 93, pending_bytes: 512, last_commit_micros: 1500 };
        register_store(&mut registry, stats);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "websocket_relay_store_committed_messages_total 7",
            "websocket_relay_store_skipped_messages_total 93",
            "websocket_relay_store_pending_bytes 512",
            "websocket_relay_store_last_commit_seconds 0.0015",
        ];
        assert_eq!(values, expected);
    }
}
