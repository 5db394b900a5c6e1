// Makes the page live. Without this script everything but the news still works, by plain forms.
"use strict";

const strings = JSON.parse(document.body.dataset.strings);
const lang = document.documentElement.lang;
const $ = (id) => document.getElementById(id);
const say = (key, n) => strings[key].replace("{n}", n);
const seconds = (ms) => new Intl.NumberFormat(lang, { minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(ms / 1000);

// Clock counts up beside a text. Screen readers are spared it.
class Clock {
  constructor(element) { this.element = element; }
  start(sinceMs) {
    this.stop();
    const begin = performance.now() - sinceMs;
    const tick = () => { this.element.textContent = say("state.seconds", seconds(performance.now() - begin)); };
    tick();
    this.timer = setInterval(tick, 100);
  }
  stop() { clearInterval(this.timer); this.element.textContent = ""; }
}

// ---- messages

function localize(root) {
  const full = new Intl.DateTimeFormat(lang, { dateStyle: "full", timeStyle: "medium" });
  const brief = new Intl.DateTimeFormat(lang, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  const relative = new Intl.RelativeTimeFormat(lang, { numeric: "auto" });
  for (const time of root.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    const minutes = Math.round((date - Date.now()) / 60000);
    time.title = full.format(date);
    time.textContent = minutes > -60 && minutes <= 1 ? relative.format(Math.min(minutes, 0), minutes < 0 ? "minute" : "second") : brief.format(date);
  }
}

// show puts a message where it belongs, unless the page has this version already.
function show({ id, version, html }) {
  const list = $("messages");
  const old = $("m-" + id);
  if (old && Number(old.dataset.version) >= version) return;
  const template = document.createElement("template");
  template.innerHTML = html;
  const item = template.content.firstElementChild;
  localize(item);
  if (old) { old.replaceWith(item); return; }
  const after = [...list.children].find((other) => other.dataset.id < id);
  const older = document.querySelector("#list [rel=next]");
  if (!after && older && list.children.length) return; // it belongs on a later page
  item.classList.add("new");
  list.insertBefore(item, after ?? null);
  document.querySelector("#list .empty")?.remove();
}

// refresh reads the list again, whole.
async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const list = page.getElementById("list");
  if (!response.ok || !list || list.dataset.away === "true") return false;
  $("list").replaceWith(list);
  localize(list);
  return true;
}

// ---- news

const statusClock = new Clock($("status-clock"));
let backTimer;

function showStatus(state, ...parts) {
  clearTimeout(backTimer);
  $("status").dataset.state = state;
  $("status-text").replaceChildren(...parts);
}

function code(text) {
  const element = document.createElement("code");
  element.textContent = text;
  return element;
}

function servers(s) {
  const reads = s.replica && s.replica !== s.master ? [say("status.reads") + " ", code(s.replica)] : [say("status.readsmaster")];
  return [say("status.writes") + " ", code(s.master ?? "…"), " · ", ...reads];
}

let wasWritable = true;
function status(s) {
  if (s.writable) {
    statusClock.stop();
    if (!wasWritable && s.outageMs > 0) {
      showStatus("ok", say("status.back", seconds(s.outageMs)) + " ", ...servers(s));
      backTimer = setTimeout(() => showStatus("ok", ...servers(s)), 8000);
    } else {
      showStatus("ok", ...servers(s));
    }
    retryNow?.();
    if ($("list")?.dataset.away === "true") refresh().catch(() => {});
  } else if (wasWritable || $("status").dataset.state === "reconnecting") {
    showStatus(s.known ? "changing" : "starting", say(s.known ? "status.changing" : "status.starting"));
    statusClock.start(s.ageMs);
  }
  wasWritable = s.writable;
}

// listen follows the stream of events. The browser reconnects by itself and says which event it saw last; only when
// the front end refused, which ends the stream for good, is a new one opened.
function listen() {
  let last = $("list")?.dataset.position ?? "";
  const source = new EventSource("/events?after=" + encodeURIComponent(last));
  source.addEventListener("message", (event) => {
    const list = $("list");
    if (!list) return; // a page with a form alone wants to know of the servers only
    last = event.lastEventId || last;
    list.dataset.position = last;
    const message = JSON.parse(event.data);
    if (list.dataset.newest === "true" || $("m-" + message.id)) show(message);
  });
  source.addEventListener("status", (event) => status(JSON.parse(event.data)));
  source.addEventListener("missed", () => { if ($("list")) refresh().catch(() => {}); });
  source.addEventListener("error", () => {
    showStatus("reconnecting", say("status.reconnecting"));
    wasWritable = true;
    statusClock.stop();
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000 + Math.random() * 2000);
  });
}

// ---- the form

const form = $("form");
const stateClock = new Clock($("state-clock"));
let retryNow = null;

function state(kind, text) {
  $("state-box").dataset.state = kind;
  $("state").textContent = text;
}

function freeze(frozen) {
  for (const field of [form.elements.text, form.elements.name]) field.readOnly = frozen;
  $("submit").disabled = frozen;
  $("stop").hidden = true;
}

// send tries until the server has said yes or no. The token stays the same, so that the message is kept once however
// often it is sent.
async function send(body, signal) {
  for (let pause = 150; ; pause = Math.min(pause * 1.6, 2000)) {
    let reachable = true;
    try {
      const response = await fetch(form.action, { method: "POST", body, signal, headers: { Accept: "application/json" } });
      const answer = await response.json();
      if (response.ok) return answer;
      if (!answer.retry) return { ...answer, status: response.status };
    } catch (error) {
      if (signal.aborted) return null;
      reachable = false; // this front end is gone, or the answer was not ours: nobody knows whether it was kept
    }
    state("retry", say(reachable ? "state.retry" : "state.offline"));
    $("stop").hidden = false;
    await new Promise((resolve) => {
      retryNow = resolve;
      const timer = setTimeout(resolve, pause * (0.75 + Math.random() / 2));
      signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
    retryNow = null;
    if (signal.aborted) return null;
  }
}

async function submit(event) {
  event.preventDefault();
  if ($("submit").disabled) return;
  const body = new URLSearchParams(new FormData(form));
  const abort = new AbortController();
  $("stop").onclick = () => abort.abort();
  freeze(true);
  state("saving", say("state.saving"));
  stateClock.start(0);
  // The front end itself waits for a new master for some seconds before it says so: tell what happens before that.
  const early = setTimeout(() => { state("retry", say("state.retry")); $("stop").hidden = false; }, 700);
  const answer = await send(body, abort.signal);
  clearTimeout(early);
  stateClock.stop();
  freeze(false);
  if (answer === null) {
    state("error", say("state.stopped"));
  } else if (answer.message) {
    kept(answer);
  } else {
    if (answer.conflict) {
      $("conflict").innerHTML = answer.conflict;
      form.elements.version.value = answer.version;
    }
    state(answer.conflict ? "" : "error", answer.conflict ? "" : answer.error);
    form.elements.text.focus();
  }
}

function kept(answer) {
  try { localStorage.setItem("name", form.elements.name.value); } catch { /* private browsing */ }
  if (form.dataset.then) { location.assign(form.dataset.then); return; }
  state("done", say("state.kept"));
  setTimeout(() => { if ($("state-box").dataset.state === "done") state("", ""); }, 4000);
  form.elements.token.value = answer.token;
  form.elements.text.value = "";
  countLeft();
  form.elements.text.focus({ preventScroll: true });
  if ($("list").dataset.newest === "true") show(answer.message);
  else location.assign("/#m-" + answer.message.id);
}

function countLeft() {
  const left = $("left");
  const rest = Number(left.dataset.max) - [...form.elements.text.value].length;
  left.firstElementChild.textContent = rest;
  left.hidden = rest > 200;
}

if (form) {
  form.addEventListener("submit", submit);
  form.elements.text.addEventListener("input", countLeft);
  form.elements.text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  if (!form.elements.name.value && !form.elements.version) {
    try { form.elements.name.value = localStorage.getItem("name") ?? ""; } catch { /* private browsing */ }
  }
  countLeft();
}
localize(document);
setInterval(() => localize(document), 30000);
listen();
