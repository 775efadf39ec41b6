// The microphone and the loudspeaker of one talk. Both run on the audio thread (worklet.js); this is their near end.

export const RATE = 24000;
const FLUSH_MS = 500;
/** So long sound is held back at most: the server says sooner whether the agent was interrupted. */
const HOLD_MS = 1500;
const WORKLET = new URL("worklet.js", import.meta.url);

/** What may be chosen from. Names are empty until the user has allowed a microphone once. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter((device) => device.kind === "audioinput" && device.deviceId);
}

export class Sound {
  /**
   * `onFrame(pcm, peak)`: 20 ms of the microphone; `onPlayed({item, played, peak, at})`: what the loudspeaker has
   * played of an item, in samples, and when on `performance.now()`; `onLost()`: the microphone was unplugged.
   */
  constructor({ onFrame, onPlayed, onLost }) {
    Object.assign(this, { onFrame, onPlayed, onLost });
    this.muted = false;
    this.flushes = new Map();
    this.flushCount = 0;
  }

  /** Only after a click or a key: browsers keep pages silent until then. */
  async open() {
    this.context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    await this.context.audioWorklet.addModule(WORKLET);
    this.speaker = new AudioWorkletNode(this.context, "speaker", { numberOfInputs: 0, outputChannelCount: [1] });
    this.speaker.port.onmessage = ({ data }) => this.told(data);
    this.speaker.connect(this.context.destination);
    await this.context.resume();
  }

  told(data) {
    if ("flushed" in data) {
      this.flushes.get(data.flushed)?.(data);
      this.flushes.delete(data.flushed);
    } else {
      this.onPlayed({ ...data, at: this.heardAt(data.time) });
    }
  }

  /** When what the context makes at this time of its own comes out of the loudspeaker, on `performance.now()`. */
  heardAt(time) {
    const { contextTime, performanceTime } = this.context.getOutputTimestamp?.() ?? {};
    return contextTime ? performanceTime + (time - contextTime) * 1000 : performance.now() + this.latencyMs;
  }

  get latencyMs() {
    return (this.context.outputLatency || 0) * 1000;
  }

  /** Listen to this microphone instead of the one before. Raises what getUserMedia raises (NotAllowedError …). */
  async listen(deviceId) {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: {
        deviceId: deviceId ? { exact: deviceId } : undefined,
        channelCount: 1,
        echoCancellation: true,
        noiseSuppression: true,
        autoGainControl: true,
      },
    });
    this.deafen();
    if (!this.context) return stream.getTracks().forEach((track) => track.stop()); // closed meanwhile
    this.stream = stream;
    stream.getAudioTracks()[0].onended = () => this.onLost();
    const [context, source] = await this.source(stream);
    const node = new AudioWorkletNode(context, "microphone", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => {
      if (this.muted) data.pcm.fill(0);
      this.onFrame(data.pcm, this.muted ? 0 : data.peak);
    };
    source.connect(node);
    this.microphone = { context, source, node };
  }

  // Firefox joins a microphone only to a context of its own rate; the worklet then resamples.
  async source(stream) {
    try {
      return [this.context, this.context.createMediaStreamSource(stream)];
    } catch {
      const context = new AudioContext();
      await context.audioWorklet.addModule(WORKLET);
      return [context, context.createMediaStreamSource(stream)];
    }
  }

  deafen() {
    if (!this.microphone) return;
    const { context, source, node } = this.microphone;
    source.disconnect();
    node.port.onmessage = null;
    if (context !== this.context) context.close();
    for (const track of this.stream.getTracks()) {
      track.onended = null;
      track.stop();
    }
    this.microphone = null;
  }

  play(item, pcm) {
    this.speaker.port.postMessage({ item, pcm }, [pcm.buffer]);
  }

  /** Stop where it is, or go on from there. */
  hold(held) {
    clearTimeout(this.held);
    this.speaker.port.postMessage({ hold: held });
    if (held) this.held = setTimeout(() => this.hold(false), HOLD_MS);
  }

  /** Silence at once. Resolves to {item, ms}: how much of which item the user has heard. */
  flush() {
    const id = ++this.flushCount;
    return new Promise((resolve) => {
      const tell = ({ item, played }) =>
        resolve({ item, ms: Math.max(0, Math.floor((played * 1000) / RATE - this.latencyMs)) });
      this.flushes.set(id, tell);
      setTimeout(() => this.flushes.delete(id) && tell({ item: null, played: 0 }), FLUSH_MS);
      this.speaker.port.postMessage({ flush: id });
    });
  }

  /** A phone call or a locked screen may have suspended it. */
  wake() {
    if (this.context?.state === "suspended" || this.context?.state === "interrupted") this.context.resume();
  }

  close() {
    clearTimeout(this.held);
    this.deafen();
    this.context?.close();
    this.context = null;
  }
}
