// The status as it changes: server-sent events (rows of all queues, the whole of the one that is open), and the plain
// status where there is no room for another stream.
// It says how old what is known is, and comes back by itself: each time with the whole status.

//: Milliseconds without news after which what is known counts as old.
const OLD = 3500;
//: Milliseconds between two tries, and between two looks where no stream is to be had.
const AGAIN = 1500;
const POLL = 5000;
//: Milliseconds for which a page that nobody sees keeps its stream: there are few.
const UNSEEN = 60_000;

export class Live {
  // tell.status(text), tell.change(text), tell.queue(text), tell.health({fresh, since, why, polling}) are called; since is milliseconds of Date.
  constructor(tell) {
    this.tell = tell;
    this.heard = null;
    this.why = "";
    this.polling = false;
    this.fresh = false;
    this.source = null;
    this.timer = null;
    this.queue = null;
    document.addEventListener("visibilitychange", () => this.seen());
    window.addEventListener("pagehide", () => this.stop());
    window.addEventListener("pageshow", (event) => event.persisted && this.start());
    window.addEventListener("online", () => this.start());
    setInterval(() => this.look(), 500);
  }

  start() {
    this.stop();
    const source = new EventSource(`/api/events?rows=1${this.queue === null ? "" : `&queue=${encodeURIComponent(this.queue)}`}`);
    this.source = source;
    source.addEventListener("status", (event) => this.hear(() => this.tell.status(event.data)));
    source.addEventListener("change", (event) => this.hear(() => this.tell.change(event.data)));
    source.addEventListener("queue", (event) => this.hear(() => this.tell.queue(event.data)));
    source.addEventListener("error", () => {
      // Browsers differ in what they try again by themselves: none does it here.
      this.stop();
      this.ask();
    });
  }

  // Tell everything of this queue from now on; null is of none.
  open(queue) {
    if (queue === this.queue) return;
    this.queue = queue;
    if (this.source !== null) this.start();
  }

  stop() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  hear(act) {
    this.heard = Date.now();
    this.polling = false;
    this.why = "";
    act();
    this.look();
  }

  // Why there is no stream: nobody answers, or somebody says no.
  async ask() {
    let wait = AGAIN;
    try {
      const answer = await fetch("/api/status", { signal: AbortSignal.timeout(10_000), cache: "no-store" });
      if (answer.ok) {
        const whole = await answer.text();
        this.hear(() => this.tell.status(whole));
        this.polling = true;
        wait = POLL;
      } else {
        const told = await answer.json().catch(() => ({}));
        this.why = told.error ? `${told.error}${told.hint ? `: ${told.hint}` : ""}` : `it answered ${answer.status}`;
      }
    } catch {
      this.why = "";
    }
    this.look();
    this.timer = setTimeout(() => this.start(), wait);
  }

  look() {
    const age = this.heard === null ? Infinity : Date.now() - this.heard;
    this.fresh = age < OLD + (this.polling ? POLL : 0);
    // A stream that is open and silent is no better than none.
    if (!this.fresh && this.source !== null && age > 4 * OLD && age !== Infinity) this.start();
    this.tell.health({ fresh: this.fresh, since: this.heard, why: this.why, polling: this.polling });
  }

  seen() {
    clearTimeout(this.unseen);
    if (document.hidden) this.unseen = setTimeout(() => this.stop(), UNSEEN);
    else if (this.source === null) this.start();
  }
}
