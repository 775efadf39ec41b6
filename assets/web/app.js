// The page itself: its buttons, captions and pictures, around one Talk.

import { element, parted, turnCard } from "./draw.js";
import { microphones } from "./sound.js";
import { Talk } from "./talk.js";
import { preferred, words } from "./words.js";

const $ = (id) => document.getElementById(id);
const DRAW_MS = 150;
const store = {
  get: (area, name) => { try { return area.getItem(`voiceagent.${name}`); } catch { return null; } },
  set: (area, name, value) => { try { area.setItem(`voiceagent.${name}`, value); } catch { /* private browsing */ } },
};

let t = words("en");
let ui = "en";
let config = { agents: [], languages: [], key_required: false };
const url = new URL("v1/realtime?model=voiceagent", document.baseURI);
url.protocol = url.protocol.replace("http", "ws");
const choice = { agent: null, language: "", microphone: "", key: store.get(sessionStorage, "key") ?? "" };
const talk = new Talk(url, choice);
const lines = new Map();
const announced = new Set();
const cards = new Map();
let stale = false;

// -- words ------------------------------------------------------------------------------------------------------------

function speak(language) {
  ui = language;
  t = words(language);
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = t("title");
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  $("ui-language").textContent = t("language_name");
  $("ui-language").setAttribute("aria-label", t("language_label"));
  $("ui-language").lang = language === "zh" ? "en" : "zh-CN";
  $("text").placeholder = t("text_hint");
  $("level").setAttribute("aria-label", t("level"));
  offer();
  show();
  for (const caption of lines.keys()) write(caption);
  cards.clear();
  redraw();
}

function option(value, text, chosen) {
  const made = element("option", { value }, text);
  made.selected = value === chosen;
  return made;
}

/** What may be chosen in the settings. */
async function offer() {
  const named = (agent) => agent.name[ui] ?? Object.values(agent.name)[0] ?? agent.id;
  $("agent").replaceChildren(...config.agents.map((agent) => option(agent.id, named(agent), choice.agent?.id)));
  const names = new Intl.DisplayNames([document.documentElement.lang], { type: "language" });
  $("language").replaceChildren(
    option("", t("automatic"), choice.language),
    ...config.languages.map((code) => option(code, names.of(code), choice.language)),
  );
  $("key-field").hidden = !config.key_required;
  const found = await microphones();
  $("microphone").replaceChildren(
    option("", t("microphone_default"), choice.microphone),
    ...found
      .filter((device) => device.deviceId !== "default")
      .map((device, index) => option(device.deviceId, device.label || t("microphone_nth", { number: index + 1 }), choice.microphone)),
  );
}

// -- state ------------------------------------------------------------------------------------------------------------

let lastWhy = "";

function show() {
  const state = talk.state;
  const live = talk.speaking;
  let shown = `state_${state}`;
  if (state === "open" && live) {
    shown = talk.sounding ? "state_speaking" : talk.sound.muted ? "state_muted" : "state_listening";
  }
  const text = lastWhy && state !== "open" ? t(`why_${lastWhy}`) : t(shown);
  if ($("state").textContent !== text) $("state").textContent = text;
  $("state").dataset.state = state;
  $("talk").textContent = t(live ? "end" : "talk");
  $("talk").classList.toggle("on", live);
  $("mute").disabled = !live;
  $("mute").textContent = t(talk.sound?.muted ? "unmute" : "mute");
  $("mute").setAttribute("aria-pressed", String(Boolean(talk.sound?.muted)));
  $("hush").disabled = !(talk.replies.size || talk.sounding);
}

function complain(problem) {
  const known = t(`problem_${problem}`);
  $("problem").textContent = known === problem.replace(/^\w*?_/, "") ? problem : known;
  $("problem").hidden = false;
}

function calm() {
  $("problem").hidden = true;
}

// -- captions ---------------------------------------------------------------------------------------------------------

function write(caption) {
  let line = lines.get(caption);
  if (!line) {
    line = element("li", { class: caption.role });
    lines.set(caption, line);
    $("captions").append(line);
    $("hello").hidden = true;
  }
  const who = element("b", {}, t(caption.role === "user" ? "user" : "agent"));
  line.replaceChildren(who, ...(caption.role === "user" ? usersWords(caption) : agentsWords(caption)));
  line.hidden = caption.done && !caption.text && !caption.failed;
  const scroll = $("scroll");
  if (scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 200) scroll.scrollTop = scroll.scrollHeight;
  announce(caption);
}

function usersWords(caption) {
  return [caption.text || t(caption.failed ? "not_understood" : "listening")];
}

function agentsWords(caption) {
  const [heard, rest] = parted(caption.text, caption.spoken);
  if (!rest) return [heard];
  const over = caption.heard !== null;
  return [heard, element(over ? "s" : "span", { class: over ? "unheard" : "ahead", title: over ? t("unheard") : undefined }, rest)];
}

/** For those who read by a screen reader: a message once, when it is whole. */
function announce(caption) {
  const whole = caption.done && caption.text && (caption.role === "user" || caption.heard !== null || caption.spoken === caption.text);
  if (!whole || announced.has(caption.id)) return;
  announced.add(caption.id);
  $("announcer").textContent = `${t(caption.role === "user" ? "user" : "agent")}: ${caption.spoken}`;
}

// -- turns ------------------------------------------------------------------------------------------------------------

function redraw() {
  stale = false;
  const now = performance.now();
  const list = talk.turns.list;
  $("no-turns").hidden = list.length > 0;
  const shown = list.map((turn) => {
    const kept = cards.get(turn);
    if (kept?.final) return kept.card;
    const final = Boolean(turn.waves) && now - turn.zero > (turn.client.last_played ?? 0) + 2000;
    const card = turnCard(talk.turns.snapshot(turn, now), t);
    cards.set(turn, { card, final });
    stale ||= !final && turn.status === "live";
    return card;
  });
  for (const turn of cards.keys()) if (!list.includes(turn)) cards.delete(turn);
  const at = $("turn-list");
  shown.reverse().forEach((card, index) => {
    if (at.children[index] !== card) at.insertBefore(card, at.children[index] ?? null);
  });
  while (at.children.length > shown.length) at.lastChild.remove();
}

// -- wiring -----------------------------------------------------------------------------------------------------------

function bind() {
  $("ui-language").onclick = () => {
    store.set(localStorage, "ui", ui === "en" ? "zh" : "en");
    speak(ui === "en" ? "zh" : "en");
  };
  $("talk").onclick = async () => {
    calm();
    lastWhy = "";
    if (talk.speaking) return talk.stop();
    if (!admitted()) return;
    try {
      await talk.start();
    } catch {
      complain(isSecureContext ? "sound" : "insecure");
    }
    offer();
  };
  $("mute").onclick = () => {
    talk.sound.muted = !talk.sound.muted;
    show();
  };
  $("hush").onclick = () => talk.interrupt();
  $("write").onsubmit = (event) => {
    event.preventDefault();
    const text = $("text").value.trim();
    if (!text || !admitted()) return;
    $("text").value = "";
    calm();
    talk.write(text);
  };
  $("microphone").onchange = ({ target }) => talk.speaking ? talk.listen(target.value) : (choice.microphone = target.value);
  $("agent").onchange = ({ target }) => {
    choice.agent = config.agents.find(({ id }) => id === target.value) ?? null;
    talk.reconnect();
  };
  $("language").onchange = ({ target }) => {
    choice.language = target.value;
    talk.configure();
  };
  $("key").value = choice.key;
  $("key").onchange = ({ target }) => {
    choice.key = target.value.trim();
    store.set(sessionStorage, "key", choice.key);
  };
  $("afresh").onclick = () => {
    talk.forget();
    lines.clear();
    announced.clear();
    $("captions").replaceChildren();
    $("hello").hidden = false;
    calm();
    show();
  };
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !$("hush").disabled) talk.interrupt();
  });
  document.addEventListener("visibilitychange", () => talk.sound?.wake());
  navigator.mediaDevices?.addEventListener?.("devicechange", offer);

  talk.addEventListener("state", ({ detail }) => {
    lastWhy = detail;
    show();
  });
  talk.addEventListener("caption", ({ detail }) => write(detail));
  talk.addEventListener("turns", () => (stale = true));
  talk.addEventListener("problem", ({ detail }) => complain(detail));
}

/** Whether a key is there, where one is needed; else the user is asked for it. */
function admitted() {
  if (!config.key_required || choice.key) return true;
  $("settings").open = true;
  $("key").focus();
  return false;
}

let drawn = 0;
let meter = 0;

function tick(now) {
  meter = Math.max(talk.level, meter * 0.85);
  const percent = Math.round(Math.min(1, Math.sqrt(meter)) * 100);
  $("level").firstElementChild.style.transform = `scaleX(${percent / 100})`;
  if (now - drawn > DRAW_MS) {
    drawn = now;
    $("level").setAttribute("aria-valuenow", percent);
    show();
    if (stale) redraw();
  }
  requestAnimationFrame(tick);
}

bind();
speak(store.get(localStorage, "ui") ?? preferred(navigator.languages));
requestAnimationFrame(tick);
globalThis.voiceagent = talk; // for the browser's console
try {
  config = await (await fetch(new URL("web/config.json", document.baseURI))).json();
  choice.agent = config.agents[0] ?? null;
  offer();
} catch {
  complain("config");
}
