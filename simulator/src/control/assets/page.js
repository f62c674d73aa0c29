// Keeps what is marked with data-source fresh, and carries out what is pressed.
"use strict";

const REFRESH_MS = 1000;
const answer = document.getElementById("answer");
const base = "/api/meters/" + document.body.dataset.meter + "/";

async function refresh() {
  for (const element of document.querySelectorAll("[data-source]")) {
    try {
      const fresh = await fetch(element.dataset.source);
      if (!fresh.ok) continue;
      const text = await fresh.text();
      // What has the focus stays; it is refreshed when the focus has left.
      if (!element.contains(document.activeElement) && element.innerHTML !== text) element.innerHTML = text;
    } catch {
      if (answer) answer.textContent = "the simulator does not answer";
    }
  }
}

async function ask(method, path, body) {
  const options = { method, headers: { "Content-Type": "application/json" } };
  if (body !== undefined) options.body = body;
  try {
    const response = await fetch(path.startsWith("/") ? path : base + path, options);
    const told = await response.json();
    if (!response.ok) answer.textContent = told.detail;
    else if (told.display !== undefined && told.accepted !== undefined) answer.textContent = told.display;
    else if (told.closed !== undefined) answer.textContent = told.closed ? "supply closed" : "not now: " + (told.held_by || "not armed");
    else answer.textContent = "done";
  } catch {
    answer.textContent = "the simulator does not answer";
  }
  if (document.activeElement instanceof HTMLButtonElement) document.activeElement.blur();
  refresh();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || button.form) return;
  const { post, put, body } = button.dataset;
  const gone = button.dataset.delete;
  if (post) ask("POST", post);
  if (put) ask("PUT", put, body);
  if (gone) ask("DELETE", gone);
});

document.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  const fields = Object.fromEntries(new FormData(form));
  if (fields.watts !== undefined) fields.watts = Number(fields.watts);
  const method = form.dataset.put ? "PUT" : "POST";
  ask(method, form.dataset.put || form.dataset.post, JSON.stringify(fields));
  if (fields.keys !== undefined) form.reset();
});

setInterval(refresh, REFRESH_MS);
