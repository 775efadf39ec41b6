// What both clients share: a microphone that never stops, and a log of JSON lines on stdout for the test to judge.
import { readFileSync } from "node:fs";

const RATE = 24_000;
const PIECE_MS = 40;
const PIECE = (RATE * PIECE_MS) / 1000; // samples
const WAIT_MS = 20_000;

/** What the test wants: `url`, `key`, and the folder with what is to be said. */
export const wanted = JSON.parse(process.argv[2]);

export const tell = (line) => process.stdout.write(JSON.stringify(line) + "\n");

/** Events in the order in which they came. */
export class Log {
  #events = [];
  #waiting = new Set();

  add(event) {
    tell({ event });
    this.#events.push(event);
    for (const look of this.#waiting) look();
  }

  count(type) {
    return this.#events.filter((event) => event.type === type).length;
  }

  /** The `count`th event of this type, once it has come. */
  async until(type, count = 1) {
    const found = () => this.#events.filter((event) => event.type === type)[count - 1];
    if (found()) return found();
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no ${type} (${count}) came`)), WAIT_MS);
      const look = () => {
        if (!found()) return;
        clearTimeout(late);
        this.#waiting.delete(look);
        resolve(found());
      };
      this.#waiting.add(look);
    });
  }

  /** One more of this type than there are by now. */
  next(type) {
    return this.until(type, this.count(type) + 1);
  }
}

/** Sends what is said, and silence, at the pace of real time. `send` takes an Int16Array. */
export class Microphone {
  #send;
  #said = new Int16Array(0);
  #timer;

  constructor(send) {
    this.#send = send;
    const start = performance.now();
    let sent = 0;
    this.#timer = setInterval(() => {
      for (; sent * PIECE_MS < performance.now() - start; sent++) this.#piece();
    }, PIECE_MS);
  }

  say(name) {
    const bytes = readFileSync(`${wanted.folder}/${name}.pcm`);
    this.#said = new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  }

  stop() {
    clearInterval(this.#timer);
  }

  #piece() {
    const piece = new Int16Array(PIECE);
    piece.set(this.#said.subarray(0, PIECE));
    this.#said = this.#said.subarray(PIECE);
    this.#send(piece);
  }
}

/** Run a client to its end; whatever goes wrong is told, and is an error. */
export function run(client) {
  process.on("unhandledRejection", (error) => fail(error));
  client().then(() => process.exit(0), fail);
}

function fail(error) {
  console.error(error);
  process.exitCode = 1;
  setTimeout(() => process.exit(1), 100);
}
