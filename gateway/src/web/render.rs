//! The page's markup.

use super::text::{escape, kwh, money, percent, time};
use crate::api::areas;
use crate::api::meters::{MeterView, view};
use crate::api::profiles::profile_of;
use crate::api::{App, Problem};
use crate::store::campaign::{CampaignKind, MeterProgress};
use crate::store::command::{Command, CommandKind, CommandState};
use crate::store::meter::{BalanceHolder, Meter, MeterState, Role};
use crate::store::observation::Quality;
use crate::store::profile::StoredGap;
use crate::units::WattHours;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Meter gateway</title>\
    <link rel=\"stylesheet\" href=\"/page/page.css\">";

/// The whole page.
pub(super) fn page(summary: &str, rows: &str, last_event: i64) -> String {
    format!(
        "{HEAD}<script src=\"/page/page.js\" defer></script></head><body data-last-event=\"{last_event}\">\
         <header><h1>Meter gateway</h1><p id=\"live\" role=\"status\">connecting</p></header>\
         <section id=\"summary\" aria-label=\"Summary\">{summary}</section>\
         <main><section aria-label=\"Meters\"><table><thead><tr><th scope=\"col\">Meter</th><th scope=\"col\">Balance</th>\
         <th scope=\"col\">Supply</th><th scope=\"col\">Last reading</th><th scope=\"col\">Under way</th></tr></thead>\
         <tbody id=\"meters\">{rows}</tbody></table></section>\
         <aside aria-label=\"Happening now\"><h2>Happening now</h2><ol id=\"log\"></ol></aside></main>\
         <footer>Times are UTC by the gateway's clock. Supply is shown as sensed at the relay's contact.</footer></body></html>"
    )
}

/// What somebody without a session sees.
pub(super) fn closed() -> String {
    format!(
        "{HEAD}</head><body><header><h1>Meter gateway</h1></header><p class=\"closed\">This page opens through a link that \
         works once and for 15 minutes. Make one with <code>meter-gateway page-link</code>.</p></body></html>"
    )
}

/// Alarms on the page, the newest ones; the rest is for `alarm list`.
const ALARMS_SHOWN: u32 = 20;

/// Counts and money.
pub(super) async fn summary(app: &App) -> Result<String, Problem> {
    let meters = app.store.all_meters().await?;
    let customers = meters.iter().filter(|(meter, _)| meter.role == Role::Customer).count();
    let sensed = |closed: bool| {
        meters
            .iter()
            .filter(|(meter, state)| {
                meter.role == Role::Customer && state.relay.is_some_and(|relay| relay.output_closed == closed)
            })
            .count()
    };
    let silent = meters.iter().filter(|(_, state)| state.problem.is_some()).count();
    let balance = app.store.money_balance().await?;
    let config = app.config();
    let price = &config.price;
    let mut cards = String::new();
    let mut card = |label: &str, value: String, class: &str| {
        let _ = write!(cards, "<div class=\"card {class}\"><b>{value}</b><span>{label}</span></div>");
    };
    card("customers", customers.to_string(), "");
    card("supply on", sensed(true).to_string(), "on");
    card("supply off", sensed(false).to_string(), if sensed(false) > 0 { "off" } else { "" });
    card("not answering", silent.to_string(), if silent > 0 { "bad" } else { "" });
    for alarm in app.store.alarms(None, true, ALARMS_SHOWN).await? {
        let label = format!(
            "{} {}: {}",
            escape(&alarm.serial),
            alarm.kind.as_str().replace('_', " "),
            escape(&alarm.detail)
        );
        card(&label, "alarm".to_owned(), "bad");
    }
    card("received", money(balance.received, price), "");
    card("credit accepted", money(balance.accepted, price), "");
    card("on the way", money(balance.on_the_way, price), "");
    card("change held", money(balance.change_held, price), "");
    card("refused, owed back", money(balance.refused, price), if balance.refused.0 > 0 { "off" } else { "" });
    let verdict = if balance.balanced { ("yes", "on") } else { ("NO", "bad") };
    card("accounts balance", verdict.0.to_owned(), verdict.1);
    for campaign in app.store.running_campaigns(CampaignKind::Command).await? {
        let counts = app.store.campaign_counts(campaign.id).await?;
        let count =
            |wanted| counts.iter().find(|(progress, _)| *progress == wanted).map_or(0, |(_, count)| *count);
        let done = count(MeterProgress::Done);
        let refused = count(MeterProgress::Refused);
        let left = count(MeterProgress::Waiting) + count(MeterProgress::OnTheWay);
        let label = format!(
            "bulk command {}: {} done, {refused} refused, {left} to go ({})",
            campaign.id,
            done,
            escape(&campaign.reason)
        );
        card(&label, format!("{done} of {}", done + refused + left), if refused > 0 { "off" } else { "" });
    }
    for line in app.lines.status() {
        let (Some(budget), Some(used)) = (line.budget_bytes_per_s, line.used_per_10000) else { continue };
        let state = if line.up { "" } else { "bad" };
        let label =
            format!("of line {}, {budget} bytes a second, {} waiting", escape(&line.line), line.jobs());
        card(&label, percent(used), state);
    }
    for area in feeder_areas(&meters) {
        let energy = areas::energy_of(app, area, Timestamp::UNIX_EPOCH, app.clock.now()).await?;
        let share = energy.loss_per_10000.map(|loss| format!(" ({})", percent(loss))).unwrap_or_default();
        let label = format!(
            "loss in {}: {} fed, {} metered",
            escape(area),
            kwh(energy.feeder_wh),
            kwh(energy.meters_wh)
        );
        card(&label, format!("{}{share}", kwh(energy.loss_wh)), "");
    }
    Ok(cards)
}

/// The areas that have a feeder meter.
fn feeder_areas(meters: &[(Meter, MeterState)]) -> BTreeSet<&str> {
    let feeders = meters.iter().filter(|(meter, _)| meter.role == Role::Feeder);
    feeders.map(|(meter, _)| meter.area.as_str()).collect()
}

/// Every row.
pub(super) async fn rows(app: &App) -> Result<String, Problem> {
    let mut open: HashMap<String, Vec<Command>> = HashMap::new();
    for command in app.store.open_commands_after(0).await? {
        open.entry(command.request.serial.0.clone()).or_default().push(command);
    }
    let mut gaps: HashMap<String, Vec<StoredGap>> = HashMap::new();
    for (serial, gap) in app.store.all_gaps().await? {
        gaps.entry(serial.0).or_default().push(gap);
    }
    let mut rows = String::new();
    for (meter, state) in app.store.all_meters().await? {
        let commands = open.remove(&meter.serial.0).unwrap_or_default();
        let missing = missing(app, &meter, &gaps.remove(&meter.serial.0).unwrap_or_default());
        rows.push_str(&cells(&view(app, meter, state).await?, &commands, &missing));
    }
    Ok(rows)
}

/// One row; `None` when there is no such meter.
pub(super) async fn row(app: &App, serial: &str) -> Result<Option<String>, Problem> {
    let Some((meter, state)) = app.store.meter(serial).await? else { return Ok(None) };
    let commands: Vec<Command> = app
        .store
        .commands(Some(serial), 20)
        .await?
        .into_iter()
        .filter(|command| !command.state.is_final())
        .collect();
    let gaps = app.store.gaps(serial, GAPS_MAX).await?;
    let open: Vec<StoredGap> = gaps.into_iter().filter(|gap| gap.given_up.is_none()).collect();
    let missing = missing(app, &meter, &open);
    Ok(Some(cells(&view(app, meter, state).await?, &commands, &missing)))
}

/// Gaps of one meter that its row counts.
const GAPS_MAX: u32 = 100;

/// What is missing of a meter's profiles and asked for again: `load: 3 rows missing since …`.
fn missing(app: &App, meter: &Meter, gaps: &[StoredGap]) -> String {
    let mut counts: BTreeMap<&str, (usize, Timestamp)> = BTreeMap::new();
    for gap in gaps {
        let Some((_, slots)) = profile_of(&app.models, &meter.model, &gap.profile) else { continue };
        let rows = slots.between(gap.gap.from, gap.gap.to).count();
        let (count, since) = counts.entry(&gap.profile).or_insert((0, gap.gap.from));
        *count += rows;
        *since = gap.gap.from.min(*since);
    }
    let line = |(profile, (count, since)): (&str, (usize, Timestamp))| {
        let (profile, since) = (escape(profile), time(since));
        format!("<small class=\"armed\">{profile}: {count} rows missing since {since}</small>")
    };
    counts.into_iter().map(line).collect()
}

fn cells(meter: &MeterView, commands: &[Command], missing: &str) -> String {
    let serial = escape(&meter.serial);
    let feeder = if meter.role == Role::Feeder { " <i>feeder</i>" } else { "" };
    let place = format!("{} {}", escape(&meter.line), escape(&meter.address));
    format!(
        "<tr id=\"meter-{serial}\"><th scope=\"row\">{serial}{feeder}<small>{place}</small></th><td>{}</td><td>{}</td>\
         <td>{}{missing}</td><td>{}</td></tr>",
        balance(meter),
        supply(meter),
        reading(meter),
        under_way(meter, commands)
    )
}

fn balance(meter: &MeterView) -> String {
    let holder = match meter.balance.holder {
        BalanceHolder::Meter => "held by the meter",
        BalanceHolder::Gateway => "held by the gateway",
        BalanceHolder::None => return "<span class=\"none\">not prepaid</span>".to_owned(),
    };
    let Some(credit) = meter.balance.credit_wh else {
        return format!("<span class=\"none\">not read yet</span><small>{holder}</small>");
    };
    let class = if credit <= WattHours(0) { "off" } else { "on" };
    let at = match (meter.balance.holder, meter.balance.at) {
        (BalanceHolder::Meter, Some(at)) => format!("{holder}, read {}", time(at)),
        _ => holder.to_owned(),
    };
    format!("<b class=\"{class}\">{}</b><small>{at}</small>", kwh(credit))
}

fn supply(meter: &MeterView) -> String {
    let Some(relay) = &meter.relay else {
        let word = if meter.role == Role::Feeder { "no relay" } else { "not sensed yet" };
        return format!("<span class=\"none\">{word}</span>");
    };
    let (class, word) = match (relay.output_closed, relay.control_state) {
        (true, _) => ("on", "on"),
        (false, Some(2)) => ("armed", "off, ready for reconnection"),
        (false, _) => ("off", "off"),
    };
    let reason = relay.reason.as_deref().map(|reason| format!(": {}", escape(reason))).unwrap_or_default();
    let at = relay.at.map(|at| format!("<small>sensed {}</small>", time(at))).unwrap_or_default();
    format!("<b class=\"dot {class}\">{word}{reason}</b>{at}")
}

fn reading(meter: &MeterView) -> String {
    let reading = &meter.reading;
    let class = match reading.quality {
        Quality::Measured => "on",
        Quality::Late | Quality::Estimated => "armed",
        Quality::Missing => "none",
    };
    let quality = format!("<span class=\"{class}\">{}</span>", reading.quality);
    let value = match (reading.import_wh, reading.power_w) {
        (Some(import), Some(power)) => format!("{}, {power}&nbsp;W", kwh(import)),
        (Some(import), None) => kwh(import),
        _ => String::new(),
    };
    let at = reading.at.map(time).unwrap_or_default();
    format!("{value}<small>{quality} {at}</small>")
}

fn under_way(meter: &MeterView, commands: &[Command]) -> String {
    let mut lines = String::new();
    for command in commands {
        let kind = match command.request.kind {
            CommandKind::DeliverToken => "top-up",
            other => other.as_str(),
        };
        let class = if command.state == CommandState::Unknown { "armed" } else { "busy" };
        let outcome = command
            .outcome
            .as_deref()
            .map(|line| format!("<small>{}</small>", escape(line)))
            .unwrap_or_default();
        let _ = write!(lines, "<b class=\"{class}\">{kind}: {}</b>{outcome}", command.state);
    }
    if let Some(problem) = &meter.problem {
        let _ = write!(lines, "<small class=\"bad\">{}</small>", escape(problem));
    }
    lines
}
