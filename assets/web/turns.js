// What every turn was made of, as plain data that draw.js draws (its shape: docs/guides/desktop/page.md), from the server's events and
// from what this browser itself saw and heard.

const KEPT = 100;
const STEP_MS = 20;
const BEFORE_MS = 200;
const WAVE_STEPS = 15_000; // five minutes
/** Server's stations, as far as its other events give them away before `voiceagent.timeline` comes. */
const LIVE_MARKS = {
  "input_audio_buffer.committed": "committed",
  "conversation.item.input_audio_transcription.completed": "transcribed",
};

/** The loudness (0..1) of one side over time, in steps of 20 ms on `performance.now()`. */
export class Wave {
  constructor() {
    this.steps = new Float32Array(WAVE_STEPS);
    this.last = -1;
  }

  put(at, peak) {
    const step = Math.floor(at / STEP_MS);
    if (step <= this.last - WAVE_STEPS) return;
    for (let empty = Math.max(this.last + 1, step - WAVE_STEPS + 1); empty <= step; empty++) {
      this.steps[empty % WAVE_STEPS] = 0;
    }
    this.last = Math.max(this.last, step);
    this.steps[step % WAVE_STEPS] = Math.max(this.steps[step % WAVE_STEPS], peak);
  }

  between(from, to) {
    const peaks = [];
    for (let step = Math.floor(from / STEP_MS); step < to / STEP_MS; step++) {
      const kept = step >= 0 && step <= this.last && step > this.last - WAVE_STEPS;
      peaks.push(kept ? Math.round(this.steps[step % WAVE_STEPS] * 1000) / 1000 : 0);
    }
    return peaks;
  }
}

export class Turns {
  constructor(changed) {
    this.changed = changed;
    this.waves = { user: new Wave(), agent: new Wave() };
    this.roundTrip = null;
    this.clear();
    this.began();
  }

  clear() {
    this.list = [];
    this.count = 0;
    this.changed();
  }

  /** A new connection: the server counts the microphone's samples from here. */
  began() {
    this.sentMs = 0;
    this.sentAt = 0;
  }

  sent(samples, now) {
    this.sentMs += samples / 24;
    this.sentAt = now;
  }

  /** When this moment of the microphone's audio was recorded. */
  recordedAt(ms) {
    return this.sentAt - (this.sentMs - ms);
  }

  wrote(id, text, now) {
    Object.assign(this.begin(id, now), { user: text });
  }

  begin(id, zero) {
    const turn = {
      id, number: ++this.count, status: "live", user: "", agent: "", heard: null, marks: {}, client: {}, parts: {},
      response_ms: null, decisions: [], usage: null, waves: null,
      zero, // of its times, on performance.now(); the server's account corrects it
    };
    this.list.push(turn);
    if (this.list.length > KEPT) this.list.shift();
    return turn;
  }

  get last() {
    return this.list.at(-1);
  }

  of(key, id) {
    return this.list.findLast((turn) => turn[key] === id);
  }

  /** Whose answer is being given: decisions on interruptions concern it, even when the next turn has begun. */
  get answering() {
    return this.list.findLast((turn) => turn.response_id) ?? this.last;
  }

  take(event, now) {
    const turn = this.concerned(event, now);
    if (!turn) return;
    const at = Math.round(now - turn.zero);
    const mark = LIVE_MARKS[event.type];
    if (mark && !turn.timed) turn.marks[mark] = at;
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        turn.marks.onset = 0;
        break;
      case "input_audio_buffer.speech_stopped":
        turn.speechEndAt = this.recordedAt(event.audio_end_ms);
        turn.marks.speech_end = Math.round(turn.speechEndAt - turn.zero);
        break;
      case "voiceagent.transcript.partial":
        turn.user = event.text;
        break;
      case "conversation.item.input_audio_transcription.completed":
        turn.user = event.transcript.trim();
        break;
      case "response.output_audio_transcript.delta":
      case "response.output_text.delta":
        turn.agent += event.delta;
        turn.marks.first_token ??= at;
        break;
      case "response.output_audio.delta":
        turn.marks.first_audio ??= at;
        break;
      case "response.done":
        this.done(turn, event.response, at);
        break;
      case "conversation.item.retrieved":
        turn.heard = event.item.content.map((part) => part.transcript ?? "").join(" ");
        break;
      case "voiceagent.interruption":
        turn.decisions.push({ kind: "barge_in", action: event.action, reason: event.reason, at });
        break;
      case "voiceagent.speculation":
        turn.decisions.push({ kind: "speculation", action: event.used ? "used" : "wasted", tokens: event.tokens, at });
        break;
      case "voiceagent.turn.ended":
        turn.ending = { cause: event.cause, evidence: event.evidence };
        break;
      case "voiceagent.usage":
        turn.usage = { ...event, type: undefined, event_id: undefined, response_id: undefined };
        break;
      case "voiceagent.timeline":
        this.timed(turn, event);
        break;
    }
    this.changed();
  }

  /** The turn that an event is about, begun if it is new; undefined for an event that no turn cares for. */
  concerned(event, now) {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        return this.begin(event.item_id, this.recordedAt(event.audio_start_ms));
      case "response.created": {
        // A second answer to the same words (after a tool was called, say) is drawn as a turn of its own.
        const turn = this.last && !this.last.response_id ? this.last : this.begin(event.response.id, now);
        turn.response_id = event.response.id;
        return turn;
      }
      case "response.output_item.added": {
        const turn = this.of("response_id", event.response_id);
        if (turn) turn.reply_id = event.item.id;
        return turn;
      }
      case "response.done":
        return this.of("response_id", event.response.id);
      case "conversation.item.retrieved":
        return this.of("reply_id", event.item.id);
      case "voiceagent.interruption":
        return this.answering;
      case "voiceagent.speculation":
        return this.last;
      default:
        if (event.response_id) return this.of("response_id", event.response_id);
        return event.item_id ? this.of("id", event.item_id) : undefined;
    }
  }

  done(turn, response, at) {
    if (!turn.timed) turn.marks.sent = at;
    if (response.status === "cancelled") turn.marks.interrupted ??= at;
    if (response.usage && !turn.usage) turn.usage = response.usage;
    turn.status = { cancelled: "interrupted", failed: "failed" }[response.status] ?? "completed";
    turn.heard = response.output?.[0]?.content?.map((part) => part.transcript ?? part.text ?? "").join(" ") ?? "";
    if (turn.status !== "interrupted") turn.heard = null;
  }

  /** The server's own account replaces what was guessed from here. Its clock is tied to ours where speech ended. */
  timed(turn, { events, parts, response_ms }) {
    const early = turn.speechEndAt === undefined || events.speech_end === undefined;
    const shift = early ? 0 : Math.round(turn.speechEndAt - events.speech_end - turn.zero);
    turn.zero += shift;
    for (const decision of turn.decisions) decision.at -= shift;
    for (const key of Object.keys(turn.client)) turn.client[key] -= shift;
    Object.assign(turn, { marks: events, parts, response_ms, timed: true });
    if (events.interrupted !== undefined && turn.status === "completed") turn.status = "interrupted";
    const { speech_end: end, committed, paused } = events;
    if (end !== undefined && committed !== undefined) {
      turn.decisions.push({ kind: "endpoint", action: "end", silence_ms: committed - end, at: committed, ...turn.ending });
    }
    if (paused !== undefined) turn.decisions.push({ kind: "endpoint", action: "pause", at: paused });
    turn.decisions.sort((one, other) => one.at - other.at);
    this.keepWaves(turn);
  }

  /** The loudspeaker has sounded for this reply. */
  played(replyId, at, peak) {
    this.waves.agent.put(at - STEP_MS, peak);
    const turn = this.of("reply_id", replyId);
    if (!turn) return;
    const ms = Math.round(at - turn.zero);
    turn.client.first_played ??= Math.max(0, ms - STEP_MS);
    turn.client.last_played = ms;
    if (turn.waves) this.keepWaves(turn);
    this.changed();
  }

  /** The connection is gone: what was under way never ends. */
  cut(now) {
    for (const turn of this.list) {
      if (turn.status !== "live") continue;
      turn.status = "failed";
      turn.marks.interrupted = Math.round(now - turn.zero);
      this.keepWaves(turn);
    }
    this.changed();
  }

  keepWaves(turn) {
    const ends = [...Object.values(turn.marks), turn.client.last_played ?? 0];
    turn.waves = this.wavesOf(turn, Math.max(...ends) + BEFORE_MS);
  }

  wavesOf(turn, to) {
    const [from, end] = [turn.zero - BEFORE_MS, turn.zero + to];
    const { user, agent } = this.waves;
    return { step: STEP_MS, from: -BEFORE_MS, user: user.between(from, end), agent: agent.between(from, end) };
  }

  /** The turn as plain data, as it is by now. */
  snapshot(turn, now) {
    return turn.waves ? turn : { ...turn, waves: this.wavesOf(turn, now - turn.zero), now: Math.round(now - turn.zero) };
  }
}
