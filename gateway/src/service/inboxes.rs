//! The inboxes of the configuration; they come and go with it.

use crate::api::App;
use crate::config::InboxConfig;
use crate::northbound::inbox;
use std::collections::BTreeMap;
use tokio::sync::watch;
use tokio::task::JoinHandle;

struct Running {
    config: InboxConfig,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Keeps the inboxes as `wanted` says, until `stop` becomes true. One that stops leaves what it had not acknowledged to its
/// successor: it is delivered again, and answered as before.
pub(super) async fn run(
    app: App,
    gateway: String,
    mut wanted: watch::Receiver<Vec<InboxConfig>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    while !*stop.borrow() {
        let now = wanted.borrow_and_update().clone();
        let gone: Vec<String> = running
            .values()
            .filter(|inbox| !now.contains(&inbox.config))
            .map(|inbox| inbox.config.name.clone())
            .collect();
        for name in gone {
            if let Some(inbox) = running.remove(&name) {
                tracing::info!(inbox = name, "stopping: the configuration no longer has it like this");
                end(inbox).await;
            }
        }
        for config in now {
            if !running.contains_key(&config.name) {
                let (tell, stopped) = watch::channel(false);
                let task = tokio::spawn(inbox::run(config.clone(), gateway.clone(), app.clone(), stopped));
                running.insert(config.name.clone(), Running { config, stop: tell, task });
            }
        }
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { break },
            _ = stop.changed() => {}
        }
    }
    for inbox in running.into_values() {
        end(inbox).await;
    }
}

async fn end(inbox: Running) {
    inbox.stop.send_replace(true);
    if let Err(error) = inbox.task.await {
        tracing::error!(inbox = inbox.config.name, %error, "its task did not end by itself");
    }
}
