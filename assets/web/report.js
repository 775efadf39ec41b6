// The report of a recorded talk, drawn from the data that stands in the page.

import { element, turnCard } from "./draw.js";
import { reportWords } from "./report-words.js";
import { preferred } from "./words.js";

const talk = JSON.parse(document.getElementById("data").textContent);
const audio = document.querySelector("audio");
const place = (id) => document.getElementById(id);
const SVG_NS = "http://www.w3.org/2000/svg";
let language = preferred(navigator.languages ?? ["en"]);

function clock(ms) {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function facts(t) {
  const responses = talk.turns.map((turn) => turn.response_ms).filter(Number.isFinite).sort((one, other) => one - other);
  const cost = talk.turns.reduce((sum, turn) => sum + (turn.usage?.cost ?? 0), 0);
  return [
    ["session", talk.session], ["protocol", talk.protocol], ["tenant", talk.tenant],
    ["date", talk.date ? new Date(talk.date).toLocaleString(language) : ""],
    ["length", clock(talk.length_ms)], ["turns", talk.turns.length],
    ["response", responses.length ? t("ms", { ms: responses[Math.floor((responses.length - 1) / 2)] }) : ""],
    ["cost", cost ? cost.toPrecision(3) : ""], ["ended", talk.end],
  ].filter(([, value]) => value !== "" && value !== null && value !== undefined);
}

/** Both sides of the whole talk; a click plays from there. */
function overview(t) {
  const { step, user, agent } = talk.waves;
  const path = (peaks, up) => {
    const points = peaks.map((peak, index) => `${index} ${(32 - (up ? 1 : -1) * Math.sqrt(peak) * 30).toFixed(1)}`);
    return `M0 32L${points.join("L")}L${peaks.length} 32Z`;
  };
  const svg = element("svg", { xmlns: SVG_NS, viewBox: `0 0 ${Math.max(1, user.length)} 64`, preserveAspectRatio: "none", role: "img", "aria-label": t("overview") },
    element("path", { xmlns: SVG_NS, class: "user", d: path(user, true) }),
    element("path", { xmlns: SVG_NS, class: "agent", d: path(agent, false) }));
  svg.addEventListener("click", ({ offsetX }) => play((offsetX / svg.clientWidth) * user.length * step));
  return svg;
}

function play(ms) {
  if (!audio) return;
  audio.currentTime = Math.max(0, ms / 1000);
  audio.play();
}

function card(turn, t) {
  const made = turnCard(turn, t);
  const head = made.querySelector("header");
  head.append(element("span", { class: "at" }, t("at", { time: clock(turn.at) })));
  if (turn.error) head.append(element("span", { class: "error" }, t("failed", { code: turn.error })));
  if (audio) {
    const button = element("button", { type: "button", "aria-label": t("listen_label", { number: turn.number }) }, t("listen"));
    button.addEventListener("click", () => play(turn.at - 500));
    head.append(button);
  }
  return made;
}

function draw() {
  const t = reportWords(language);
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = `${t("report")} ${talk.session ?? ""}`;
  place("title").textContent = t("report");
  place("turns-title").textContent = t("turns");
  place("language").textContent = t("other");
  place("language").setAttribute("aria-label", t("other_label"));
  place("about").replaceChildren(
    ...facts(t).map(([key, value]) => element("div", {}, element("dt", {}, t(key)), element("dd", {}, String(value)))),
  );
  const note = talk.cut_ms !== null ? t("cut", { s: Math.round(talk.cut_ms / 1000) }) : talk.end === null ? t("open") : talk.turns.length ? "" : t("nobody");
  place("note").textContent = note;
  place("note").hidden = !note;
  if (talk.waves?.user.length) place("overview").replaceChildren(overview(t));
  place("turns").replaceChildren(...talk.turns.map((turn) => card(turn, t)));
}

place("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  draw();
});
draw();
