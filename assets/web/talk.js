// One conversation: what the user does and what the server says, made one. It knows nothing of the page.

import { Captions } from "./captions.js";
import { Connection } from "./connection.js";
import { Sound, RATE } from "./sound.js";
import { Turns } from "./turns.js";
import { base64, samples, session } from "./wire.js";

/** 20 ms frames of the microphone that are kept while there is no connection: the last three seconds. */
const KEPT_FRAMES = 150;
/** Samples at the end of a reply that nobody misses: 50 ms. */
const UNHEARD = RATE / 20;
const CONTINUE =
  "The connection broke while you were speaking; your last message ends where the user stopped hearing you. " +
  "Go on from there in the same language, without greeting and without repeating what was heard.";
/** Errors that only tell that something was over already. */
const HARMLESS = new Set(["response_cancel_not_active", "conversation_already_has_active_response",
  "item_truncate_invalid_item_id", "item_retrieve_invalid_item_id"]);

export class Talk extends EventTarget {
  /** `choice` = {agent: {instructions, voice}, language, microphone, key}; fires "state", "caption", "turns", "problem". */
  constructor(url, choice) {
    super();
    this.url = url;
    this.choice = choice;
    this.captions = new Captions((caption) => this.fire("caption", caption));
    this.turns = new Turns(() => this.fire("turns"));
    this.sound = null;
    this.connection = null;
    this.level = 0; // of the microphone, 0..1
    this.soundedAt = -Infinity;
    this.reset();
  }

  fire(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  reset() {
    this.ready = false;
    this.replies = new Map(); // responses of which more may come, and their items
    this.kept = [];
    this.unanswered = false;
    this.cutOff = false;
  }

  get state() {
    return this.connection?.state ?? "closed";
  }

  get speaking() {
    return this.sound !== null;
  }

  /** Whether the agent is heard just now. */
  get sounding() {
    return performance.now() - this.soundedAt < 150;
  }

  // -- what the user does ---------------------------------------------------------------------------------------------

  /** Talk by voice. Without a microphone the agent is heard, and written to. */
  async start() {
    if (this.starting) return;
    this.starting = true;
    try {
      this.sound = await this.loudspeaker();
    } finally {
      this.starting = false;
    }
    this.connect();
    await this.listen(this.choice.microphone);
  }

  async loudspeaker() {
    const sound = new Sound({
      onFrame: (pcm, peak) => this.heard(pcm, peak),
      onPlayed: (told) => this.played(told),
      onLost: () => this.fire("problem", "microphone_lost"),
    });
    try {
      await sound.open();
    } catch (error) {
      sound.close();
      throw error;
    }
    return sound;
  }

  async listen(deviceId) {
    this.choice.microphone = deviceId;
    try {
      await this.sound?.listen(deviceId);
    } catch (error) {
      this.fire("problem", error.name === "NotAllowedError" ? "microphone_denied" : "microphone_missing");
    }
  }

  connect() {
    if (this.state !== "closed") return this.configure();
    this.connection = new Connection(this.url, this.choice.key, {
      state: (state, why) => this.moved(state, why),
      event: (event) => this.told(event),
    });
    this.connection.open();
  }

  stop() {
    if (this.state === "closed") this.hangUp();
    else this.connection.end("");
    this.cutOff = false;
  }

  hangUp() {
    this.sound?.close();
    this.sound = null;
    this.level = 0;
  }

  /** Forget all that was said. */
  forget() {
    this.stop();
    this.captions = new Captions((caption) => this.fire("caption", caption));
    this.turns.clear();
    this.reset();
  }

  async write(text) {
    if (this.state === "closed") this.connect();
    await this.interrupt();
    const id = `item_${crypto.randomUUID?.().replaceAll("-", "") ?? Date.now()}`;
    this.captions.update(this.captions.of(id, "user", true), { text, done: true });
    const item = { id, type: "message", role: "user", content: [{ type: "input_text", text }] };
    if (this.ready) {
      this.send({ type: "conversation.item.create", item });
      this.answer();
    } else {
      this.unanswered = true; // the greeting sends what the server does not know
    }
    this.turns.wrote(id, text, performance.now());
  }

  answer(instructions) {
    const response = { output_modalities: [this.speaking ? "audio" : "text"] };
    if (instructions) response.instructions = instructions;
    this.send({ type: "response.create", response });
  }

  /** The user wants the agent to be silent, by other means than the voice. */
  async interrupt() {
    const active = this.replies.size > 0;
    await this.silence();
    if (active) this.send({ type: "response.cancel" });
  }

  /** Change the agent or the language of the talk that goes on. */
  configure() {
    if (!this.ready) return;
    this.configured = performance.now();
    this.send({ type: "session.update", session: session(this.choice) });
  }

  /** A voice is fixed once it was heard: another agent needs another connection, which is told all that was said. */
  reconnect() {
    if (this.state === "closed") return;
    this.connection.lost("");
    this.cutOff = false;
  }

  // -- the line -------------------------------------------------------------------------------------------------------

  send(event) {
    return this.connection?.send(event) ?? false;
  }

  moved(state, why) {
    if (state === "waiting" || state === "closed") this.broken();
    if (state === "closed") this.hangUp();
    this.fire("state", why);
  }

  /** Nothing more comes of what was under way. */
  async broken() {
    if (!this.ready) return;
    this.ready = false;
    this.cutOff ||= this.replies.size > 0;
    this.replies.clear();
    await this.sound?.flush();
    this.captions.cut();
    this.turns.cut(performance.now());
  }

  /** A new server, or the old one that has forgotten us: tell it who we are and all that was said. */
  greet() {
    this.configured = performance.now();
    this.send({ type: "session.update", session: session(this.choice) });
    const history = this.captions.history();
    for (const item of history) this.send({ type: "conversation.item.create", item });
    const waiting = this.unanswered || history.at(-1)?.role === "user";
    if (waiting) this.answer();
    else if (this.cutOff && history.length) this.answer(`${this.choice.agent?.instructions ?? ""}\n${CONTINUE}`.trim());
    this.unanswered = this.cutOff = false;
    this.ready = true;
    this.turns.began();
    for (const pcm of this.kept.splice(0)) this.append(pcm);
  }

  // -- sound ----------------------------------------------------------------------------------------------------------

  heard(pcm, peak) {
    const now = performance.now();
    this.level = peak;
    this.turns.waves.user.put(now - 20, peak);
    if (this.ready) {
      this.append(pcm);
    } else {
      this.kept.push(pcm);
      if (this.kept.length > KEPT_FRAMES) this.kept.shift();
    }
  }

  append(pcm) {
    if (this.send({ type: "input_audio_buffer.append", audio: base64(pcm) })) {
      this.turns.sent(pcm.length, performance.now());
    }
  }

  played({ item, played, peak, at }) {
    this.soundedAt = at;
    this.captions.played(item, played);
    this.turns.played(item, at, peak);
  }

  /** Not a sample more, and the server learns what was heard. */
  async silence() {
    const unfinished = new Set(this.replies.values());
    this.replies.clear(); // what still arrives of them is not played
    if (!this.sound) return;
    const { item, ms } = await this.sound.flush();
    this.soundedAt = -Infinity;
    const caption = this.captions.get(item);
    if (!caption || caption.reported) return;
    const played = (ms * RATE) / 1000;
    if (!unfinished.has(item) && caption.samples - played < UNHEARD) return;
    this.captions.update(caption, { reported: true, interrupted: true, heard: null, played });
    this.captions.update(caption, { heard: caption.spoken });
    this.send({ type: "conversation.item.truncate", item_id: item, content_index: 0, audio_end_ms: ms });
  }

  // -- what the server says -------------------------------------------------------------------------------------------

  told(event) {
    const now = performance.now();
    switch (event.type) {
      case "session.created":
        this.greet();
        break;
      case "session.updated":
        this.turns.roundTrip = now - this.configured;
        break;
      case "input_audio_buffer.speech_started":
        this.silence();
        break;
      case "voiceagent.interruption":
        // A voice, perhaps an interruption: the server sends no more for now, and what it sent ahead waits here.
        if (event.action !== "confirm") this.sound?.hold(event.action === "pause");
        break;
      case "response.created":
        this.replies.set(event.response.id, null);
        break;
      case "response.output_item.added":
        this.replies.set(event.response_id, event.item.id);
        break;
      case "response.output_audio.delta":
        this.speak(event);
        break;
      case "response.done":
        this.replies.delete(event.response.id);
        if (event.response.status === "failed") this.fire("problem", "reply_failed");
        break;
      case "voiceagent.failed":
        this.fire("problem", `${event.stage}: ${event.message}`);
        break;
      case "conversation.item.truncated":
        this.send({ type: "conversation.item.retrieve", item_id: event.item_id });
        break;
      case "error":
        if (!HARMLESS.has(event.error.code)) this.fire("problem", event.error.message);
        break;
    }
    this.captions.take(event);
    this.turns.take(event, now);
  }

  speak(event) {
    if (!this.sound || !this.replies.has(event.response_id)) return;
    const pcm = samples(event.delta);
    this.captions.received(event.item_id, pcm.length);
    this.sound.hold(false);
    this.sound.play(event.item_id, pcm);
  }
}
