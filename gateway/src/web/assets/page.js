// Follows the event stream: rows that changed are asked for again, what happens is written into the log.
"use strict";

const LOG_MAX = 60;
const PAUSE_MS = 300;
const live = document.getElementById("live");
const log = document.getElementById("log");
const changed = new Set();
let pending = false;

async function fragment(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(path + ": " + answer.status);
  return answer.text();
}

async function refreshRow(serial) {
  const holder = document.createElement("tbody");
  holder.innerHTML = await fragment("/page/meters/" + encodeURIComponent(serial));
  const fresh = holder.firstElementChild;
  fresh.classList.add("changed");
  const old = document.getElementById("meter-" + serial);
  if (old) old.replaceWith(fresh);
  else document.getElementById("meters").append(fresh);
}

async function refresh() {
  const serials = [...changed];
  changed.clear();
  try {
    for (const serial of serials) await refreshRow(serial);
    document.getElementById("summary").innerHTML = await fragment("/page/summary");
  } catch (error) {
    live.textContent = "not up to date: " + error.message;
    live.className = "";
  }
  pending = false;
  if (changed.size > 0) soon();
}

function soon() {
  if (pending) return;
  pending = true;
  setTimeout(refresh, PAUSE_MS);
}

function say(event, text) {
  const item = document.createElement("li");
  const at = document.createElement("small");
  at.textContent = event.at.slice(0, 19).replace("T", " ") + " · " + (event.serial || "");
  item.append(text, at);
  log.prepend(item);
  while (log.childElementCount > LOG_MAX) log.lastElementChild.remove();
}

const words = {
  command: (detail) => {
    const kind = detail.kind === "deliver_token" ? "top-up" : detail.kind;
    const last = detail.evidence.at(-1);
    return kind + " #" + detail.command_id + " " + detail.state + (last ? ": " + last : "");
  },
  payment: (detail) => "payment #" + detail.payment_id + " of " + detail.amount_minor + ", " + detail.energy_wh + " Wh: " + detail.state,
  relay: (detail) => "supply " + (detail.output_closed ? "on" : "off" + (detail.reason ? ": " + detail.reason : "")),
  meter: (detail) => (detail.entered ? "meter entered" : detail.problem || "answers again"),
  profile_gap: (detail) => detail.profile + " from " + detail.from + " to " + detail.to + " given up: " + detail.given_up,
  billing_overdue: (detail) => detail.profile + " of " + detail.from + " is not there in time for billing",
  alarm: (detail) => "alarm, " + detail.alarm.replaceAll("_", " ") + (detail.open ? ": " + detail.detail : " closed: " + detail.closing),
  notification: (detail) => "says: " + (detail.text || detail.event || "code " + detail.code),
  push_refused: (detail) => "a notification from " + detail.from + " was refused: " + detail.why,
  doubtful_reading: (detail) => "reading held, doubt #" + detail.doubt_id + ": " + detail.doubt.replaceAll("_", " "),
  clock: (detail) => "clock " + detail.how + ", off by " + detail.before_s + " s" + (detail.after_s == null ? "" : ", now " + detail.after_s + " s"),
  doubt_decided: (detail) => "doubt #" + detail.doubt_id + " " + detail.state + " by " + detail.by,
};

function take(message) {
  const event = JSON.parse(message.data);
  if (event.serial) changed.add(event.serial);
  soon();
  const describe = words[event.kind];
  if (describe) say(event, describe(event.detail));
}

const stream = new EventSource("/api/v1/events?after=" + document.body.dataset.lastEvent);
stream.onopen = () => {
  live.textContent = "live";
  live.className = "on";
};
stream.onerror = () => {
  live.textContent = "no connection, trying again";
  live.className = "";
};
for (const kind of ["command", "payment", "reading", "relay", "meter", "doubtful_reading", "doubt_decided", "alarm", "notification", "push_refused", "clock", "profile", "profile_gap", "billing_overdue"])
  stream.addEventListener(kind, take);
