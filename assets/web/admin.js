// The operator's view: figures that come once a second, talks that can be watched and ended, recordings.

import { adminWords } from "./admin-words.js";
import { element, turnCard } from "./draw.js";
import { Turns } from "./turns.js";
import { preferred } from "./words.js";

const base = new URL("admin/", document.baseURI);
const $ = (id) => document.getElementById(id);
const SURE_MS = 4000;
const DRAW_MS = 200;
let language = preferred(navigator.languages ?? ["en"]);
let t = adminWords(language);
let latest = null;
let recorded = null;
let connection = "waiting";
const rows = new Map();

// -- words ------------------------------------------------------------------------------------------------------------

function speak(chosen) {
  language = chosen;
  t = adminWords(language);
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = t("admin");
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  $("language").textContent = t("other");
  $("language").setAttribute("aria-label", t("other_label"));
  for (const row of rows.values()) row.remove();
  rows.clear();
  state(connection);
  if (latest) show(latest);
  showRecorded();
  watched.stale = true;
}

function state(name) {
  connection = name;
  const text = name === "open" && latest?.draining ? t("draining") : t(`state_${name}`);
  if ($("state").textContent !== text) $("state").textContent = text;
  $("state").dataset.state = name;
}

function clock(seconds) {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

const ms = (value) => (Number.isFinite(value) ? t("ms", { ms: value }) : "–");
const money = (value) => (value ? value.toPrecision(3) : "–");

// -- figures ----------------------------------------------------------------------------------------------------------

function cells(...values) {
  return element("tr", {}, ...values.map((value, index) => element("td", { class: index ? "number" : undefined }, String(value))));
}

function fill(id, made) {
  $(id).replaceChildren(...(made.length ? made : [element("tr", {}, element("td", { class: "hint" }, t("none")))]));
}

function show(snapshot) {
  latest = snapshot;
  const { latency, errors, refused, spend, llm } = snapshot;
  const count = (counts) => Object.values(counts).reduce((sum, one) => sum + one, 0);
  const cost = spend.reduce((sum, one) => sum + one.cost, 0);
  const figures = [
    ["sessions", snapshot.sessions], ["response", latency[0].count ? ms(latency[0].p50) : "–"], ["lag", ms(snapshot.lag_ms)],
    ["spend", money(cost)], ["errors", count(errors)], ["uptime", clock(snapshot.seconds)],
  ];
  $("figures").replaceChildren(
    ...figures.map(([name, value]) => element("li", {}, element("span", {}, t(`figure_${name}`)), element("b", {}, String(value)))),
  );
  fill("latency", latency.filter((one) => one.count).map((one) => cells(t(`stage_${one.stage}`), ms(one.p50), ms(one.p95), one.count)));
  const failures = [...Object.entries(errors), ...Object.entries(refused).map(([why, number]) => [t("refused", { why }), number])];
  fill("errors", failures.map(([code, number]) => cells(code, number)));
  fill("spend", spend.map((one) => cells(one.endpoint || "–", one.replies, one.tokens, money(one.cost))));
  $("llm").hidden = !llm;
  if (llm) fill("endpoints", llm.endpoints.map(endpoint));
  showTalks(snapshot.talks);
}

function endpoint(one) {
  const seconds = (value) => (value === null ? "–" : ms(Math.round(value * 1000)));
  const row = cells(one.name, one.model, t(`health_${one.breaker}`), seconds(one.ttft_p50), seconds(one.ttft_p95),
    `${Math.round(one.failure_rate * 100)} %`, one.capacity === null ? one.in_flight : `${one.in_flight}/${one.capacity}`, one.requests, money(one.spend));
  for (const index of [1, 2]) row.children[index].className = "";
  row.children[2].className = one.breaker === "closed" ? "good" : "bad";
  return row;
}

// -- talks ------------------------------------------------------------------------------------------------------------

/** Rows stay the same elements, so that the focus stays where it is. */
function showTalks(talks) {
  const gone = new Set(rows.keys());
  for (const talk of talks) {
    gone.delete(talk.id);
    if (!rows.has(talk.id)) {
      rows.set(talk.id, talkRow(talk));
      $("talks").append(rows.get(talk.id));
    }
    const { children } = rows.get(talk.id);
    const values = [talk.id.slice(0, 13), talk.protocol, talk.tenant, clock(talk.seconds), t(`doing_${talk.state}`), talk.turns, ms(talk.response_ms), money(talk.cost)];
    values.forEach((value, index) => {
      if (children[index].textContent !== String(value)) children[index].textContent = value;
    });
  }
  for (const id of gone) {
    rows.get(id).remove();
    rows.delete(id);
  }
  $("no-talks").hidden = talks.length > 0;
}

function talkRow({ id }) {
  const plain = ["id", "", "", "number", "", "number", "number", "number"].map((name) => element("td", { class: name || undefined }));
  plain[0].title = id;
  const watch = element("button", { type: "button", "aria-label": t("watch_label", { id }) }, t("watch"));
  watch.addEventListener("click", () => follow(id));
  const end = element("button", { type: "button", "aria-label": t("stop_label", { id }) }, t("stop"));
  end.addEventListener("click", () => {
    if (end.classList.contains("sure")) return post(`talks/${id}/end`);
    end.classList.add("sure");
    end.textContent = t("stop_sure");
    end.setAttribute("aria-label", t("stop_sure"));
    setTimeout(() => {
      end.classList.remove("sure");
      end.textContent = t("stop");
      end.setAttribute("aria-label", t("stop_label", { id }));
    }, SURE_MS);
  });
  return element("tr", { "data-id": id }, ...plain, element("td", {}, watch, end));
}

/** Only a page of this very server can send this header. */
const post = (path) => fetch(new URL(path, base), { method: "POST", headers: { "x-voiceagent-admin": "1" } });

// -- watching ---------------------------------------------------------------------------------------------------------

const watched = { id: null, events: null, turns: null, note: "", stale: false, missed: 0 };

function follow(id) {
  unfollow();
  watched.id = id;
  watched.missed = 0;
  watched.note = "";
  watched.turns = new Turns(() => { watched.stale = true; });
  watched.events = new EventSource(new URL(`talks/${id}/events`, base));
  watched.events.onmessage = ({ data }) => seen(JSON.parse(data));
  watched.events.onerror = () => over();
  watched.stale = true;
  $("watch").hidden = false;
  $("watch-title").focus();
}

function seen({ at, heard, event, missed, over: ended }) {
  if (ended) return over();
  if (missed) watched.missed += missed;
  if (event) {
    Object.assign(watched.turns, { sentMs: heard, sentAt: at, at });
    watched.turns.take(event, at);
  }
  watched.stale = true;
}

/** An EventSource would come back by itself, to a talk that is no more. */
function over() {
  watched.events.close();
  watched.note = "watched_over";
  watched.turns.cut(watched.turns.at ?? 0);
  watched.stale = true;
}

function unfollow() {
  watched.events?.close();
  watched.id = null;
  $("watch-turns").replaceChildren();
  $("watch").hidden = true;
}

function drawWatched() {
  if (!watched.stale || watched.id === null) return;
  watched.stale = false;
  $("watch-title").textContent = t("watching", { id: watched.id });
  const { list } = watched.turns;
  const notes = [watched.note && t(watched.note), watched.missed && t("watched_missed", { count: watched.missed }), !list.length && !watched.note && t("watched_none")];
  const note = notes.filter(Boolean).join(" ");
  if ($("watch-note").textContent !== note) $("watch-note").textContent = note;
  const cards = list.map((turn) => turnCard({ ...turn, waves: null }, t));
  $("watch-turns").replaceChildren(...cards.reverse());
}

// -- recordings -------------------------------------------------------------------------------------------------------

async function loadRecorded() {
  const answer = await fetch(new URL("talks", base)).catch(() => null);
  if (answer?.ok) recorded = await answer.json();
  showRecorded();
}

function showRecorded() {
  if (recorded === null) return;
  const link = (path, text, label) => element("a", { href: new URL(path, base), "aria-label": label, target: "_blank", rel: "noopener" }, text);
  $("recorded").replaceChildren(...recorded.talks.map(({ id, age, size, sound, finished }) => element("tr", {},
    element("td", { class: "id" }, link(`talks/${id}`, id)),
    element("td", { class: "number" }, finished ? `− ${clock(age)}` : t("running")),
    element("td", { class: "number" }, `${(size / 1e6).toFixed(1)} MB`),
    element("td", {}, sound ? link(`talks/${id}/sound`, t("download"), t("download_label", { id })) : "–"))));
  $("no-recorded").textContent = recorded.talks.length ? "" : t(recorded.recorded ? "recorded_none" : "recorded_off");
}

// -- life -------------------------------------------------------------------------------------------------------------

const events = new EventSource(new URL("events", base));
events.onmessage = ({ data }) => {
  show(JSON.parse(data));
  state("open");
};
events.onerror = () => state(events.readyState === EventSource.CLOSED ? "closed" : "waiting");
$("language").addEventListener("click", () => speak(language === "zh" ? "en" : "zh"));
$("logout").addEventListener("click", () => post("logout").then(() => location.reload()));
$("unwatch").addEventListener("click", unfollow);
$("reload").addEventListener("click", loadRecorded);
setInterval(drawWatched, DRAW_MS);
speak(language);
loadRecorded();
