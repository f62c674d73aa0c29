//! The page: the street's meters, and one meter's front panel with buttons. Rendered here, kept fresh by a small script.

use super::api::{part, view, window};
use super::problem::Problem;
use super::view::{MeterView, Window};
use crate::fault_entry::FaultName;
use crate::street::Street;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use std::fmt::Write;
use std::sync::Arc;

type Shared = State<Arc<Street>>;

/// Only what this program itself serves may be loaded or run.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Meter simulator</title>\
    <link rel=\"stylesheet\" href=\"/page/page.css\"><script src=\"/page/page.js\" defer></script></head>";

fn html(body: String) -> Response {
    let mut response = Html(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) async fn street(
    State(street): Shared,
    query: Result<Query<Window>, QueryRejection>,
) -> Result<Response, Problem> {
    let window = window(query)?;
    let clock = &street.config().clock;
    let (rows, next) = rows_of(&street, window);
    let mut links = String::new();
    if window.after > 0 {
        links += "<a href=\"/\">first meters</a>";
    }
    if let Some(next) = next {
        let _ = write!(links, "<a href=\"/?after={next}&amp;limit={}\">further meters</a>", window.limit);
    }
    let source = format!("/page/meters?after={}&amp;limit={}", window.after, window.limit);
    Ok(html(format!(
        "{HEAD}<body><header><h1>Meter simulator</h1><p>{} meters, {} simulated seconds a second</p></header>\
         <main><table><thead><tr><th scope=\"col\">Meter</th><th scope=\"col\">Credit</th><th scope=\"col\">Supply</th>\
         <th scope=\"col\">Power</th><th scope=\"col\">Faults</th></tr></thead>\
         <tbody data-source=\"{source}\">{rows}</tbody></table><nav>{links}</nav></main></body></html>",
        street.roll().len(),
        clock.speed(),
    )))
}

pub(super) async fn rows(
    State(street): Shared,
    query: Result<Query<Window>, QueryRejection>,
) -> Result<Response, Problem> {
    Ok(html(rows_of(&street, window(query)?).0))
}

fn rows_of(street: &Street, window: Window) -> (String, Option<u32>) {
    let (meters, next) = window.meters(street);
    let mut text = String::new();
    for meter in &meters {
        let _ = write!(
            text,
            "<tr><th scope=\"row\"><a href=\"/meters/{0}\">{0}</a><small>{1}<br>{2} {3}</small></th><td>{4}</td>\
             <td>{5}</td><td>{6}</td><td>{7}</td></tr>",
            meter.index,
            meter.serial,
            meter.transport,
            meter.address,
            meter.credit_wh.map_or_else(|| "-".into(), kwh),
            supply(meter),
            meter.power_w.map_or_else(|| "-".into(), |power_w| format!("{power_w} W")),
            faults(&meter.faults),
        );
    }
    (text, next)
}

/// `1.23 kWh`, towards zero.
fn kwh(wh: i64) -> String {
    let sign = if wh < 0 { "-" } else { "" };
    format!("{sign}{}.{:02} kWh", wh.unsigned_abs() / 1000, wh.unsigned_abs() % 1000 / 10)
}

fn supply(meter: &MeterView) -> String {
    let (class, text) = match (meter.powered, meter.display.is_empty(), meter.contact_closed) {
        (false, _, _) => ("off", "no power".to_owned()),
        (true, true, _) => ("off", "hangs".to_owned()),
        (true, false, true) => ("on", "on".to_owned()),
        (true, false, false) => {
            let armed = if meter.control_state == Some(2) { ", armed" } else { "" };
            ("off", format!("off: {}{armed}", meter.reason.as_deref().unwrap_or("?")))
        }
    };
    format!("<span class=\"{class}\">{text}</span>")
}

fn faults(names: &[FaultName]) -> String {
    names.iter().map(|name| format!("<span class=\"fault\">{name}</span> ")).collect()
}

pub(super) async fn meter(
    State(street): Shared,
    path: Result<Path<u32>, PathRejection>,
) -> Result<Response, Problem> {
    let meter = view(&street, part(path)?)?;
    let index = meter.index;
    let options: String = FaultName::ALL
        .iter()
        .map(|name| format!("<option value=\"{name}\">{name}: {}</option>", name.text()))
        .collect();
    Ok(html(format!(
        "{HEAD}<body data-meter=\"{index}\"><header><h1>Meter {index}</h1><p>{} at {} {}</p>\
         <a href=\"/\">all meters</a></header><main class=\"one\">\
         <section data-source=\"/page/meters/{index}\" aria-live=\"polite\">{}</section>\
         <section class=\"hands\"><h2>At the meter</h2>\
         <form data-post=\"keypad\"><label for=\"keys\">Token, or a code like #05#</label>\
         <input id=\"keys\" name=\"keys\" inputmode=\"numeric\" autocomplete=\"off\" maxlength=\"40\" required>\
         <button>Enter</button></form>\
         <p class=\"row\"><button data-post=\"button\">Press the button</button>\
         <button data-put=\"power\" data-body='{{\"on\":false}}'>Cut power</button>\
         <button data-put=\"power\" data-body='{{\"on\":true}}'>Restore power</button>\
         <button data-put=\"cover\" data-body='{{\"open\":true}}'>Open cover</button>\
         <button data-put=\"cover\" data-body='{{\"open\":false}}'>Close cover</button></p>\
         <form data-put=\"load\"><label for=\"watts\">Load besides the household's, watts</label>\
         <input id=\"watts\" name=\"watts\" type=\"number\" min=\"0\" max=\"30000\" value=\"{}\" required>\
         <button>Switch</button></form>\
         <form data-post=\"/api/time\"><label for=\"advance\">Let time pass everywhere, like 90s, 15m, 3h</label>\
         <input id=\"advance\" name=\"advance\" value=\"15m\" required><button>Pass</button></form>\
         <form data-post=\"faults\"><label for=\"fault\">Make something go wrong</label>\
         <select id=\"fault\" name=\"fault\">{options}</select><button>Begin</button></form>\
         <output id=\"answer\" role=\"status\"></output></section></main></body></html>",
        meter.serial,
        meter.transport,
        meter.address,
        panel_of(&meter),
        meter.extra_load_w,
    )))
}

pub(super) async fn panel(
    State(street): Shared,
    path: Result<Path<u32>, PathRejection>,
) -> Result<Response, Problem> {
    Ok(html(panel_of(&view(&street, part(path)?)?)))
}

fn panel_of(meter: &MeterView) -> String {
    let lines: String = meter.display.iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    let ending: String = meter
        .faults
        .iter()
        .map(|name| match name.lasts() {
            true => format!(
                "<button class=\"fault\" data-delete=\"faults/{name}\" title=\"{}\">end {name}</button> ",
                name.text()
            ),
            false => format!("<span class=\"fault\" title=\"{}\">{name}</span> ", name.text()),
        })
        .collect();
    let dark = if meter.display.is_empty() { " dark" } else { "" };
    format!(
        "<h2>Supply {}</h2><ol class=\"display{dark}\">{lines}</ol><p>{}</p><p><small>firmware {}, started {} times</small></p>",
        supply(meter),
        if ending.is_empty() { "nothing is wrong".into() } else { ending },
        meter.firmware.as_deref().unwrap_or("-"),
        meter.lives,
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("assets/page.css"))
}

pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("assets/page.js"))
}
