// The two ends of the sound, on the browser's audio thread: microphone to 24 kHz PCM, and PCM to the loudspeaker.

const RATE = 24000;
const STEP = RATE / 50; // 20 ms

/** Posts {pcm: Int16Array of 20 ms at 24 kHz, peak: 0..1, time: seconds of this context} for whatever it hears. */
class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.ratio = sampleRate / RATE; // input samples to one of ours
    this.wanting = this.ratio; // of the input, until our next sample is whole
    this.sum = 0;
    this.peak = 0;
    this.pcm = new Int16Array(STEP);
    this.filled = 0;
  }

  process([input]) {
    for (const sample of input[0] ?? []) this.take(sample);
    return true;
  }

  // Each of our samples is the mean of the stretch of input it covers, which also keeps high tones from folding down.
  take(sample) {
    let left = 1;
    while (left >= this.wanting) {
      this.put((this.sum + sample * this.wanting) / this.ratio);
      left -= this.wanting;
      this.wanting = this.ratio;
      this.sum = 0;
    }
    this.sum += sample * left;
    this.wanting -= left;
  }

  put(value) {
    const held = Math.max(-1, Math.min(1, value));
    this.peak = Math.max(this.peak, Math.abs(held));
    this.pcm[this.filled++] = Math.round(held * 32767);
    if (this.filled < STEP) return;
    this.port.postMessage({ pcm: this.pcm, peak: this.peak, time: currentTime }, [this.pcm.buffer]);
    this.pcm = new Int16Array(STEP);
    this.filled = 0;
    this.peak = 0;
  }
}

/**
 * Takes {item, pcm: Int16Array} to play after all before, {hold: true} to stop where it is and {hold: false} to go on,
 * and {flush: number} to forget what waits, answered by {flushed: number, item, played}. While it plays it posts {item, played, peak, time} every 20 ms; `played` counts
 * samples of that item.
 */
class Speaker extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = [];
    this.offset = 0;
    this.item = null;
    this.played = 0;
    this.peak = 0;
    this.steps = 0;
    this.gain = 1;
    this.hold = false;
    this.flush = null;
    this.port.onmessage = ({ data }) => {
      if ("flush" in data) this.flush = data.flush;
      else if ("hold" in data) this.hold = data.hold;
      else this.queue.push(data);
    };
  }

  process(_, [output]) {
    const out = output[0];
    const target = this.hold || this.flush !== null ? 0 : 1;
    const sounded = (this.gain || target) && this.fill(out);
    // From sound to silence and back by a ramp of 5 ms, lest it clicks.
    const step = (target - this.gain) / out.length;
    for (let i = 0; i < out.length; i++) out[i] *= this.gain += step;
    this.gain = target;
    if (this.flush !== null) this.forget();
    this.tell(sounded, out.length);
    return true;
  }

  forget() {
    this.queue.length = this.offset = 0;
    this.hold = false;
    this.port.postMessage({ flushed: this.flush, item: this.item, played: this.played });
    this.flush = null;
  }

  fill(out) {
    let done = 0;
    while (done < out.length && this.queue.length) {
      const { item, pcm } = this.queue[0];
      if (item !== this.item) {
        this.item = item;
        this.played = 0;
      }
      const count = Math.min(out.length - done, pcm.length - this.offset);
      for (let i = 0; i < count; i++) {
        const sample = pcm[this.offset + i] / 32768;
        out[done + i] = sample;
        this.peak = Math.max(this.peak, Math.abs(sample));
      }
      done += count;
      this.offset += count;
      this.played += count;
      if (this.offset === pcm.length) {
        this.queue.shift();
        this.offset = 0;
      }
    }
    return done > 0;
  }

  tell(sounded, samples) {
    this.steps += samples;
    this.sounded ||= sounded;
    if (this.steps < STEP) return;
    if (this.sounded) {
      this.port.postMessage({ item: this.item, played: this.played, peak: this.peak, time: currentTime });
    }
    this.steps -= STEP;
    this.sounded = false;
    this.peak = 0;
  }
}

registerProcessor("microphone", Microphone);
registerProcessor("speaker", Speaker);
