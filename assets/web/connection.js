// One lasting conversation with an OpenAI Realtime server over sockets that may break.

const PAUSES_MS = [200, 500, 1000, 2000, 4000, 8000];
const GIVE_UP_MS = 180_000;
const CONNECT_MS = 10_000;
/** Bytes that may wait in the socket: three seconds of audio. More, and the network is gone though nobody has said so. */
const STUCK_BYTES = 200_000;
/** Why a server ends a talk for good; after anything else (a restart, a lost network) the talk goes on elsewhere. */
const FINAL = new Set(["finished", "ended", "idle", "expired"]);

/**
 * `on.state(state, why)` with state "connecting", "open", "waiting" (for the next attempt) or "closed"; `why` is the
 * server's reason, "unreachable", or "". `on.event(event)`: what the server says. The owner greets the server anew
 * every time it is "open".
 */
export class Connection {
  constructor(url, key, on) {
    Object.assign(this, { url, key, on });
    this.socket = null;
    this.state = "closed";
    this.met = false; // whether a server ever let us in
    this.attempts = 0;
    this.online = () => this.state === "waiting" && this.connect();
    this.offline = () => this.state !== "closed" && this.lost("");
  }

  open() {
    addEventListener("online", this.online);
    addEventListener("offline", this.offline);
    this.lostAt = performance.now();
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    const protocols = ["realtime"];
    if (this.key) protocols.push(`openai-insecure-api-key.${this.key}`);
    let socket;
    try {
      socket = new WebSocket(this.url, protocols);
    } catch {
      return this.end("refused"); // such a key fits into no header
    }
    this.socket = socket;
    this.become("connecting");
    this.timer = setTimeout(() => this.lost("unreachable"), CONNECT_MS);
    socket.onopen = () => {
      clearTimeout(this.timer);
      this.met = true;
      this.become("open");
    };
    socket.onmessage = ({ data }) => {
      this.attempts = 0; // it is a server that talks
      this.on.event(JSON.parse(data));
    };
    socket.onclose = ({ reason }) => {
      if (FINAL.has(reason)) this.end(reason);
      else if (this.met) this.lost(reason);
      else this.turnedAway();
    };
  }

  /** A browser does not tell a page why it was not let in. */
  async turnedAway() {
    this.drop();
    const health = await fetch(new URL("healthz", document.baseURI), { cache: "no-store" }).catch(() => null);
    if (this.state !== "connecting") return;
    if (health?.ok) this.end("refused");
    else this.lost(health ? "loading" : "unreachable");
  }

  /** False when there is nobody to hear it. */
  send(event) {
    if (this.state !== "open") return false;
    if (this.socket.bufferedAmount > STUCK_BYTES) {
      this.lost("");
      return false;
    }
    this.socket.send(JSON.stringify(event));
    return true;
  }

  lost(why) {
    this.drop();
    const now = performance.now();
    if (this.state === "open") this.lostAt = now;
    if (now - this.lostAt > GIVE_UP_MS) return this.end(why || "unreachable");
    const pause = PAUSES_MS[Math.min(this.attempts++, PAUSES_MS.length - 1)];
    this.timer = setTimeout(() => this.connect(), pause);
    this.become("waiting", why);
  }

  end(why) {
    this.drop();
    removeEventListener("online", this.online);
    removeEventListener("offline", this.offline);
    this.become("closed", why);
  }

  drop() {
    clearTimeout(this.timer);
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.socket = null;
  }

  become(state, why = "") {
    this.state = state;
    this.on.state(state, why);
  }
}
