// The picture of a turn, drawn from plain data (its shape: docs/guides/desktop/page.md): for the page as it happens, and for a report.
// `t(key, values)` gives the words; see words.js. What nobody's browser saw (`client`, `waves`) may be missing.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 640;
const LABELS = 78;
const LANE = 30;
const ROW = 19;
const MARGIN_MS = 300;
const ROWS = ["speech", "pause", "hold", "asr", "llm", "tts", "network", "heard"];

/** An HTML element, or with `ns` an SVG one: element("p", {class: "note"}, "text", otherElement). */
export function element(name, attributes = {}, ...children) {
  const svg = attributes.xmlns === SVG;
  const made = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && key !== "xmlns") made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const shape = (name, attributes, ...children) => element(name, { xmlns: SVG, ...attributes }, ...children);

/** The bars of the waterfall: {row, from, to, ahead}. Times in ms; `ahead` was done before the turn was over. */
export function spans(turn) {
  const marks = turn.marks ?? {};
  const client = turn.client ?? {};
  const bars = [];
  const bar = (row, from, to, ahead = false) => {
    if (Number.isFinite(from) && Number.isFinite(to) && to >= from) bars.push({ row, from, to, ahead });
  };
  const split = (row, from, to) => {
    const committed = marks.committed ?? -Infinity;
    if (from < committed) bar(row, from, Math.min(to, committed), true);
    if (to > committed) bar(row, Math.max(from, committed), to);
  };
  const asked = marks.prepared ?? marks.transcribed;
  bar("speech", marks.onset, marks.speech_end ?? turn.now);
  bar("pause", marks.speech_end, marks.committed);
  if (marks.prepared < marks.committed) bar("hold", marks.prepared, marks.committed);
  split("asr", marks.paused ?? marks.committed, marks.transcribed);
  split("llm", asked, marks.first_clause ?? marks.first_token);
  split("tts", marks.first_clause ?? marks.first_token, marks.first_speech ?? marks.first_audio);
  bar("network", marks.first_audio, client.first_played);
  bar("heard", client.first_played ?? marks.first_audio, client.last_played ?? marks.interrupted ?? marks.heard);
  return bars;
}

/** From the user's last sound to the first that came out of their loudspeaker, in ms; undefined if nobody listened there. */
export function perceived(turn) {
  const ms = turn.client?.first_played - turn.marks?.speech_end;
  return Number.isFinite(ms) ? ms : undefined;
}

/** {from, to} of the whole turn, in ms. */
export function extent(turn) {
  const times = [0, turn.now ?? 0, ...Object.values(turn.marks ?? {}), ...Object.values(turn.client ?? {})];
  return { from: Math.min(0, turn.waves?.from ?? 0), to: Math.max(...times) + MARGIN_MS / 2 };
}

/** {from, to} of the part that answers "why did it take so long": around the silence between the two voices. */
export function focus(turn) {
  const marks = turn.marks ?? {};
  const whole = extent(turn);
  const end = marks.speech_end ?? marks.paused ?? Math.min(...Object.values(marks), turn.now ?? whole.to);
  const answer = turn.client?.first_played ?? marks.first_audio ?? marks.sent ?? marks.interrupted ?? turn.now ?? whole.to;
  return {
    from: Math.max(whole.from, Math.min(end, marks.paused ?? end) - MARGIN_MS),
    to: Math.min(whole.to, Math.max(answer, marks.transcribed ?? 0, end) + MARGIN_MS),
  };
}

function scale({ from, to }) {
  const perMs = (WIDTH - LABELS - 8) / Math.max(1, to - from);
  return (ms) => Math.round((LABELS + (ms - from) * perMs) * 10) / 10;
}

/** Two waveforms of the whole turn above, and below the waterfall of the stretch between them. */
export function drawTurn(turn, t) {
  const whole = extent(turn);
  const near = focus(turn);
  const [x, zoomed] = [scale(whole), scale(near)];
  const lanes = 2 * (LANE + 4);
  const top = lanes + 34;
  const height = top + ROWS.length * ROW + 20;
  const picture = shape("svg", {
    class: "turn-picture", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": inWords(turn, t),
  });
  picture.append(
    shape("path", {
      class: "focus",
      d: `M${x(near.from)} 0V${lanes}L${LABELS} ${top - 6}V${height - 20}H${WIDTH - 8}V${top - 6}L${x(near.to)} ${lanes}V0Z`,
    }),
    ...lane(turn, "user", 0, x, t),
    ...lane(turn, "agent", LANE + 4, x, t),
    ...ticks(whole, x, lanes + 12),
    ...decisionMarks(turn, x, lanes),
    ...waterfall(turn, near, zoomed, top, t),
    ...ticks(near, zoomed, height - 6),
  );
  return picture;
}

function lane(turn, side, y, x, t) {
  const middle = y + LANE / 2;
  const parts = [
    label(t(side), middle),
    shape("line", { class: "axis", x1: LABELS, x2: WIDTH - 8, y1: middle, y2: middle }),
  ];
  const waves = turn.waves;
  if (!waves?.[side]?.length) return parts;
  const upper = [];
  const lower = [];
  waves[side].forEach((peak, index) => {
    const at = waves.from + (index + 0.5) * waves.step;
    const half = Math.sqrt(peak) * (LANE / 2); // so that quiet speech shows
    upper.push(`${x(at)} ${(middle - half).toFixed(1)}`);
    lower.unshift(`${x(at)} ${(middle + half).toFixed(1)}`);
  });
  parts.push(shape("path", { class: `wave ${side}`, d: `M${upper.join("L")}L${lower.join("L")}Z` }));
  return parts;
}

function decisionMarks(turn, x, y) {
  return (turn.decisions ?? []).map(({ kind, action, at }) =>
    shape("path", { class: `decision ${kind} ${action}`, d: `M${x(at)} ${y - 4}l4 7h-8Z` }),
  );
}

function waterfall(turn, near, x, top, t) {
  const parts = [];
  ROWS.forEach((row, index) => {
    const y = top + index * ROW;
    parts.push(label(t(row), y + ROW / 2), shape("line", { class: "axis", x1: LABELS, x2: WIDTH - 8, y1: y + ROW, y2: y + ROW }));
  });
  const ends = new Map();
  // Speech made ahead waits for the turn's end; an older server does not tell when it was ready.
  const waited = (row, ahead) => row === "tts" && ahead && turn.marks?.first_speech === undefined;
  for (const { row, from, to, ahead } of spans(turn)) {
    if (to < near.from || from > near.to) continue;
    const y = top + ROWS.indexOf(row) * ROW + 3;
    const [left, right] = [x(Math.max(from, near.from)), x(Math.min(to, near.to))];
    const width = Math.max(1.5, right - left);
    parts.push(shape("rect", { class: `bar ${row}${ahead ? " ahead" : ""}`, x: left, y, width, height: ROW - 6, rx: 2 }));
    const before = ends.get(row);
    ends.set(row, {
      ms: (before?.ms ?? 0) + to - from, most: before?.most || waited(row, ahead), left: before?.left ?? left, right: left + width, y,
    });
  }
  for (const { ms, most, left, right, y } of ends.values()) {
    const inside = right > WIDTH - 70;
    const place = inside ? { x: left - 4, "text-anchor": "end" } : { x: right + 4 };
    parts.push(shape("text", { class: "length", y: y + ROW - 8, ...place }, t(most ? "at_most_ms" : "ms", { ms: Math.round(ms) })));
  }
  const { committed } = turn.marks ?? {};
  if (committed >= near.from && committed <= near.to) {
    const at = x(committed);
    parts.push(
      shape("line", { class: "commit", x1: at, x2: at, y1: top - 4, y2: top + ROWS.length * ROW }),
      shape("text", { class: "commit-label", x: at, y: top - 7, "text-anchor": "middle" }, t("commit")),
    );
  }
  return parts;
}

function label(text, y) {
  return shape("text", { class: "label", x: LABELS - 8, y: y + 4, "text-anchor": "end" }, text);
}

function ticks(range, x, y) {
  const step = [50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000].find((ms) => (range.to - range.from) / ms <= 8);
  const parts = [];
  for (let at = Math.ceil(range.from / step) * step; at <= range.to - step / 3; at += step) {
    parts.push(shape("text", { class: "tick", x: x(at), y, "text-anchor": "middle" }, `${at / 1000} s`));
  }
  return parts;
}

function inWords(turn, t) {
  const bars = spans(turn).filter(({ row }) => row !== "heard").map(({ row, from, to }) => `${t(row)} ${t("ms", { ms: to - from })}`);
  return `${t("turn", { number: turn.number })}: ${bars.join(", ")}`;
}

/** One line about a decision. */
export function decisionText(decision, t) {
  const { kind, action, reason, silence_ms, tokens, cause, evidence } = decision;
  const why = reason ? t(`reason_${reason}`) : undefined;
  if (cause && cause !== "silence") return t(`endpoint_${cause}`);
  const weighed = Object.entries(evidence ?? {}).filter(([, weight]) => Math.abs(weight) >= 0.1);
  const because = weighed.map(([rule, weight]) => `${t(`rule_${rule}`)} ${weight > 0 ? "+" : "−"}${Math.abs(weight).toFixed(1)}`);
  return t(`${kind}_${action}`, { why, ms: silence_ms, tokens }) + (because.length ? ` (${because.join(", ")})` : "");
}

/** The whole account of a turn: words, picture, decisions, tokens and cost, and what preparing ahead brought. */
export function turnCard(turn, t) {
  const head = element("header", {}, element("h3", {}, t("turn", { number: turn.number })), ...badges(turn, t));
  const decisions = (turn.decisions ?? []).map((decision) =>
    element("li", { class: decision.kind },
      element("time", {}, t("s", { s: (decision.at / 1000).toFixed(2) })), ` ${decisionText(decision, t)}`),
  );
  return element("article", { class: `turn ${turn.status}` }, head, said(turn, t), drawTurn(turn, t),
    decisions.length ? element("ul", { class: "decisions" }, ...decisions) : null,
    element("p", { class: "costs" }, costs(turn, t).join(" · ")));
}

function badges(turn, t) {
  const shown = [];
  const badge = (name, text, title) => shown.push(element("span", { class: `badge ${name}`, title }, text));
  const heard = perceived(turn);
  if (heard !== undefined) badge("response", t("response_heard", { ms: heard }), t("response_heard_title"));
  if (Number.isFinite(turn.response_ms)) badge("server", t("response_server", { ms: turn.response_ms }), t("response_server_title"));
  if (turn.status !== "completed") badge(turn.status, t(`status_${turn.status}`));
  return shown;
}

function said(turn, t) {
  const [heard, rest] = parted(turn.agent ?? "", turn.heard);
  return element("p", { class: "said" },
    element("b", {}, t("user")), ` ${turn.user || "…"} `, element("b", {}, t("agent")), ` ${heard}`,
    rest ? element("s", { class: "unheard", title: t("unheard") }, rest) : null);
}

/** [what was heard, the rest] of a text. */
export function parted(text, heard) {
  if (heard === null || heard === undefined) return [text, ""];
  const words = heard.trimEnd();
  return text.startsWith(words) ? [words, text.slice(words.length)] : [heard, ""];
}

function costs(turn, t) {
  const facts = [];
  const usage = turn.usage;
  if (usage) {
    if (usage.input_tokens || usage.output_tokens) facts.push(t("tokens", { input: usage.input_tokens, output: usage.output_tokens }));
    if (usage.cached_tokens) facts.push(t("cached", { tokens: usage.cached_tokens }));
    if (usage.cost) facts.push(t("cost", { cost: usage.cost.toPrecision(2) }));
    if (usage.endpoint) facts.push(usage.endpoint);
  }
  const ahead = (turn.decisions ?? []).filter(({ kind }) => kind === "speculation");
  const wasted = ahead.filter(({ action }) => action === "wasted");
  const saved = turn.marks?.committed - turn.marks?.prepared;
  if (saved > 0 && ahead.some(({ action }) => action === "used")) facts.push(t("speculation_saved", { ms: saved }));
  if (wasted.length) {
    const tokens = wasted.reduce((sum, decision) => sum + (decision.tokens ?? 0), 0);
    facts.push(t("speculation_lost", { count: wasted.length, tokens }));
  }
  return facts;
}
