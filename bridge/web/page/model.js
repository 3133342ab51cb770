// What is known of the daemon, and which queues are listed in which order.

import { stateOf } from "./words.js";

//: Milliseconds after which the order is made anew where it goes by numbers that always change.
const REORDER = 5000;

// [ready, unacked, consumers of the old queue, ready, consumers of the new one], of a row as of a whole queue.
export function depths(queue) {
  if (Array.isArray(queue.depth)) return queue.depth;
  const { old, new: after } = queue.depth ?? {};
  return [old?.ready ?? null, old?.unacked ?? null, old?.consumers ?? null, after?.ready ?? null, after?.consumers ?? null];
}

export const oldReady = (queue) => depths(queue)[0];
export const newReady = (queue) => depths(queue)[3];
export const outRate = (queue) => queue.rates?.out?.["10s"] ?? queue.rate ?? null;
export const inRate = (queue) => queue.rates?.in?.["10s"] ?? null;

const byName = (one, other) => (one.name < other.name ? -1 : one.name > other.name ? 1 : 0);
const falling = (value) => (one, other) => (value(other) ?? -1) - (value(one) ?? -1);
const SORTS = {
  attention: (one, other) => stateOf(one).rank - stateOf(other).rank,
  name: () => 0,
  state: (one, other) => stateOf(one).rank - stateOf(other).rank,
  old: falling(oldReady),
  new: falling(newReady),
  rate: falling(outRate),
};

export class Model {
  constructor() {
    this.top = null;
    //: Rows by name, and everything of the one that is open.
    this.queues = new Map();
    this.open = null;
    this.totals = {};
    this.words = [];
    this.state = "";
    this.sort = "attention";
    this.upward = false;
    this.order = [];
    this.ordered = 0;
    this.stale = true;
    this.sums = { states: {} };
    //: Counts up when a verb may be asked, or not any more.
    this.asks = 0;
  }

  // The whole status, with rows or with whole queues.
  replace(whole) {
    const { queues, totals, ...top } = whole;
    this.top = top;
    this.totals = totals ?? {};
    this.queues = new Map();
    for (const queue of queues) this.add(Array.isArray(queue.depth) ? queue : rowOf(queue));
    this.stale = true;
    this.asks += 1;
    this.sum();
  }

  // What changed since.
  apply(change) {
    if (change.now) this.top.now = change.now;
    Object.assign(this.top, change.top);
    Object.assign(this.totals, change.totals);
    for (const part of change.queues) {
      const queue = this.queues.get(part.name);
      if (queue === undefined) {
        this.add(part);
        this.stale = true;
        this.asks += 1;
        continue;
      }
      Object.assign(queue, part);
      if (part.state !== undefined || part.route !== undefined || part.why !== undefined) {
        queue.haystack = haystack(queue);
        this.stale = true;
      }
      if (part.next !== undefined) this.asks += 1;
    }
    for (const name of change.gone) {
      this.queues.delete(name);
      this.stale = true;
      this.asks += 1;
    }
    if (change.queues.length || change.gone.length) this.sum();
  }

  add(row) {
    row.haystack = haystack(row);
    this.queues.set(row.name, row);
  }

  sum() {
    const sums = { old: null, unacked: null, consumersOld: null, new: null, consumersNew: null, states: {} };
    for (const queue of this.queues.values()) {
      sums.states[queue.state] = (sums.states[queue.state] ?? 0) + 1;
      const [old, unacked, consumersOld, fresh, consumersNew] = queue.depth;
      if (old !== null) {
        sums.old += old;
        sums.unacked += unacked;
        sums.consumersOld += consumersOld;
      }
      if (fresh !== null) {
        sums.new += fresh;
        sums.consumersNew += consumersNew;
      }
    }
    this.sums = sums;
  }

  // Whether another order came of it.
  arrange(force = false) {
    const moving = this.sort !== "name" && this.sort !== "attention" && this.sort !== "state";
    if (!force && !this.stale && !(moving && Date.now() - this.ordered > REORDER)) return false;
    const found = [];
    for (const queue of this.queues.values()) if (this.fits(queue)) found.push(queue);
    const by = SORTS[this.sort];
    const turn = this.upward ? -1 : 1;
    found.sort((one, other) => turn * by(one, other) || (this.sort === "name" ? turn : 1) * byName(one, other));
    this.order = found;
    this.ordered = Date.now();
    this.stale = false;
    return true;
  }

  fits(queue) {
    if (this.state && queue.state !== this.state) return false;
    return this.words.every((word) => queue.haystack.includes(word));
  }

  filter(text) {
    this.words = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.arrange(true);
  }

  get filtered() {
    return this.words.length > 0 || this.state !== "";
  }
}

const haystack = (queue) => `${queue.name} ${queue.target ?? ""} ${queue.route} ${queue.state} ${queue.why ?? ""}`.toLowerCase();

// What the daemon makes of a whole queue for a list of them (bridge/web/differences.py).
function rowOf(queue) {
  const { name, target, route, paused, state, why, drained, next, rate, planned, gate } = queue;
  const shut = gate ? (gate.find((check) => !check.ok)?.text ?? "") : null;
  return { name, target, route, paused, state, why, drained, next, rate, depth: depths(queue), planned: Boolean(planned), shut };
}

// One sentence on what waits, where the daemon has none of its own.
export function sentence(model) {
  const top = model.top;
  if (top === null) return "";
  if (top.standby) return `This daemon is on standby: ${top.standby}`;
  if (top.why_first) return upper(top.why_first);
  if (top.why_first === "") return "Everything moves.";
  for (const side of ["source", "target", "legacy"]) {
    if (top[side] && !top[side].connected) return `The ${side} is not connected: ${top[side].reason ?? "trying"}`;
  }
  const held = [...model.queues.values()].filter((queue) => stateOf(queue).rank <= 2).sort(SORTS.attention);
  if (held.length) return `${held[0].name} ${held[0].state}: ${held[0].why}${held.length > 1 ? ` (and ${held.length - 1} more)` : ""}`;
  const idle = model.sums.states.idle ?? 0;
  if (idle === model.queues.size) return "Nothing is moved: the old workers have every queue.";
  return "Everything moves.";
}

const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);
