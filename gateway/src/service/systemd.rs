//! What systemd is told (sd_notify(3)): ready, reloading, stopping, and that the gateway makes progress. Without systemd nothing
//! happens.

use crate::commands::desk::Desk;
use crate::store::{Store, StoreError};
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::sync::watch;

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// The gateway serves.
pub(super) fn ready() {
    say(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "there is no monotonic clock to tell systemd"),
    }
}

/// The gateway stops.
pub(super) fn stopping() {
    say(&[NotifyState::Stopping]);
}

/// Feeds the watchdog, where systemd asks for that, twice in each of its intervals: but only when the store has committed and the
/// command engine has answered in between. A gateway that hangs is then started again.
pub(super) async fn feed_watchdog(store: Store, desk: Desk, mut stop: watch::Receiver<bool>) {
    let Some(interval) = sd_notify::watchdog_enabled().map(|interval| interval / 2) else { return };
    let feeding = async {
        loop {
            if makes_progress(&store, &desk, interval).await {
                say(&[NotifyState::Watchdog]);
            } else {
                tracing::error!("store or command engine gave no answer: the watchdog is not fed");
            }
            tokio::time::sleep(interval).await;
        }
    };
    tokio::select! {
        () = feeding => {}
        // An error means that nobody can tell us any more, which is a stop too.
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Whether the store's writer commits and the engine answers, both within `patience`.
async fn makes_progress(store: &Store, desk: &Desk, patience: Duration) -> bool {
    let both = async {
        let written: Result<(), StoreError> = store.write(|_| Box::pin(async { Ok(()) })).await;
        written.is_ok() && desk.is_alive().await
    };
    tokio::time::timeout(patience, both).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    #[tokio::test]
    async fn the_watchdog_goes_hungry_when_the_engine_hangs() {
        let bench = Bench::new().await;
        let patience = Duration::from_secs(10);
        assert!(makes_progress(bench.store(), &bench.desk, patience).await);
        // Nobody listens at this desk, as if the engine hung.
        let (desk, _said) = Desk::new();
        assert!(!makes_progress(bench.store(), &desk, Duration::from_millis(50)).await);
    }

    #[tokio::test]
    async fn the_watchdog_goes_hungry_when_the_store_hangs() {
        let bench = Bench::new().await;
        let (hold, held) = tokio::sync::oneshot::channel::<()>();
        let store = bench.store().clone();
        let hanging = tokio::spawn(async move {
            store
                .write::<_, StoreError, _>(|_| {
                    Box::pin(async move {
                        let _ = held.await;
                        Ok(())
                    })
                })
                .await
        });
        tokio::task::yield_now().await;
        assert!(!makes_progress(bench.store(), &bench.desk, Duration::from_millis(50)).await);
        drop(hold);
        hanging.await.unwrap().unwrap();
        assert!(makes_progress(bench.store(), &bench.desk, Duration::from_secs(10)).await);
    }
}
