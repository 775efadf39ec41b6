// What was said on both sides, and how much of the agent's words was heard: told by the server's events.

/** Samples at 24 kHz. */
const RATE = 24000;
const WORD = /[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+\s*|\s+/g;

/** The beginning of `text` that ends with the word at this share (0..1) of it; a Chinese character is a word. */
export function beginning(text, share) {
  let end = 0;
  for (const [word] of text.matchAll(WORD)) {
    if (end + word.length / 2 > share * text.length) break;
    end += word.length;
  }
  return text.slice(0, end);
}

/**
 * One message. An agent's `text` is all that was sent of it; `marks` say at which sample of its audio each piece of the
 * text begins; `heard` is the part of the text that was heard, null as long as that is only known from `played`.
 */
class Caption {
  constructor(id, role, typed = false) {
    Object.assign(this, { id, role, typed });
    this.text = "";
    this.marks = [];
    this.samples = 0;
    this.played = 0;
    this.heard = null;
    this.reported = false; // the server was told how much was heard
    this.done = false;
    this.interrupted = false;
  }

  /** The words heard by now, as far as can be told here. */
  get spoken() {
    if (this.role === "user" || this.typed) return this.text;
    if (this.heard !== null) return this.heard;
    if (this.done && this.played >= this.samples) return this.text;
    let spoken = "";
    this.marks.forEach(([sample, text], index) => {
      const end = this.marks[index + 1]?.[0] ?? (this.done ? this.samples : Math.max(this.samples, sample + estimate(text)));
      if (this.played > sample) spoken += beginning(text, Math.min(1, (this.played - sample) / (end - sample)));
    });
    return spoken;
  }
}

/** About how many samples it takes to say it, while that is not yet known. */
function estimate(text) {
  let seconds = 0;
  for (const letter of text) seconds += letter > "\u3040" ? 0.22 : 0.065;
  return seconds * RATE;
}

export class Captions {
  /** `changed(caption)` is called for every change; a caption is new the first time. */
  constructor(changed) {
    this.changed = changed;
    this.items = new Map();
  }

  get(id) {
    return this.items.get(id);
  }

  /** The caption of this item, made if it is not there. */
  of(id, role, typed = false) {
    if (!this.items.has(id)) this.items.set(id, new Caption(id, role, typed));
    return this.items.get(id);
  }

  update(caption, fields) {
    Object.assign(caption, fields);
    this.changed(caption);
  }

  take(event) {
    switch (event.type) {
      case "conversation.item.added":
      case "response.output_item.added":
        return this.added(event.item);
      case "input_audio_buffer.speech_started":
        return this.update(this.of(event.item_id, "user"), {});
      case "voiceagent.transcript.partial":
        return this.update(this.of(event.item_id, "user"), { text: event.text });
      case "conversation.item.input_audio_transcription.completed":
        return this.update(this.of(event.item_id, "user"), { text: event.transcript.trim(), done: true });
      case "conversation.item.input_audio_transcription.failed":
        return this.update(this.of(event.item_id, "user"), { done: true, failed: true });
      case "response.output_audio_transcript.delta":
        return this.more(this.of(event.item_id, "assistant"), event.delta);
      case "response.output_text.delta":
        return this.more(this.of(event.item_id, "assistant", true), event.delta);
      case "response.output_audio_transcript.done":
        return this.over(event.item_id, event.transcript);
      case "response.output_text.done":
        return this.over(event.item_id, event.text);
      case "conversation.item.retrieved":
        return this.known(event.item);
    }
  }

  added(item) {
    if (item.type !== "message" || item.role === "system" || this.items.has(item.id)) return;
    const text = item.content.map((part) => part.text ?? part.transcript ?? "").join(" ");
    const typed = item.content.some((part) => part.type.endsWith("_text"));
    this.update(this.of(item.id, item.role, typed), { text, done: item.role === "user" && typed });
  }

  more(caption, text) {
    caption.marks.push([caption.samples, text]);
    this.update(caption, { text: caption.text + text });
  }

  /** Nothing more of it is sent. A server that was interrupted tells here how much of it was heard. */
  over(id, text) {
    const caption = this.items.get(id);
    if (!caption) return;
    if (caption.reported) return this.update(caption, { done: true });
    const cut = text.trim().length < caption.text.trim().length;
    this.update(caption, { done: true, heard: cut ? text : null, interrupted: cut });
  }

  /** The server's last word on what was heard. */
  known(item) {
    const caption = this.items.get(item.id);
    if (!caption || caption.role !== "assistant") return;
    const heard = item.content.map((part) => part.transcript ?? part.text ?? "").join(" ");
    this.update(caption, { heard, interrupted: heard.trim().length < caption.text.trim().length });
  }

  received(id, samples) {
    this.of(id, "assistant").samples += samples;
  }

  played(id, samples) {
    const caption = this.items.get(id);
    if (caption && caption.heard === null) this.update(caption, { played: samples });
  }

  /** The connection broke: what was not played by now never will be. */
  cut() {
    for (const caption of this.items.values()) {
      if (caption.role !== "assistant" || caption.heard !== null) continue;
      const whole = caption.done && (caption.typed || caption.played >= caption.samples);
      this.update(caption, { heard: caption.spoken, interrupted: !whole, done: true });
    }
  }

  /** The items as a server that has never heard of them is to be told. */
  history() {
    const items = [];
    for (const { id, role, text, spoken, interrupted } of this.items.values()) {
      const words = role === "user" ? text : spoken;
      if (!words.trim()) continue;
      const content = [{ type: role === "user" ? "input_text" : "output_text", text: words }];
      items.push({ id, type: "message", role, status: interrupted ? "incomplete" : "completed", content });
    }
    return items;
  }
}
