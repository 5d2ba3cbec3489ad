//! Tokio's clock.

use std::time::Duration;

use tokio::time;

use super::{Here, cases};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(100_000);

cases!(
    waits_in_tokio_sleep,
    waits_in_tokio_sleep_until,
    waits_in_tokio_interval,
    waits_in_tokio_timeout in 2,
);

async fn waits_in_tokio_sleep(here: Here) {
    here.waits(time::sleep(LONG)).await;
}

async fn waits_in_tokio_sleep_until(here: Here) {
    let end = time::Instant::now() + LONG;
    here.waits(time::sleep_until(end)).await;
}

async fn waits_in_tokio_interval(here: Here) {
    let mut interval = time::interval(LONG);
    interval.tick().await;
    here.waits(interval.tick()).await;
}

async fn waits_in_tokio_timeout(here: Here) {
    let never = tokio::sync::Notify::new();
    let limited = time::timeout(LONG, never.notified());
    assert!(here.waits(limited).await.is_err());
}
