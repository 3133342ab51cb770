// What is known of the daemon, and which queues are listed in which order.

import { stateOf } from "./words.js";

//: Milliseconds after which the order is made anew where it goes by numbers that always change.
const REORDER = 5000;

const ready = (queue, side) => queue.depth?.[side]?.ready ?? null;
export const oldReady = (queue) => ready(queue, "old");
export const newReady = (queue) => ready(queue, "new");
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
    this.queues = new Map();
    this.totals = {};
    this.words = [];
    this.state = "";
    this.sort = "attention";
    this.upward = false;
    this.order = [];
    this.ordered = 0;
    this.stale = true;
    this.sums = { old: null, new: null, gone: 0 };
  }

  // The whole status.
  replace(whole) {
    const { queues, totals, ...top } = whole;
    this.top = top;
    this.totals = totals ?? {};
    this.queues = new Map(queues.map((queue) => [queue.name, queue]));
    for (const queue of queues) prepare(queue);
    this.stale = true;
    this.sum();
  }

  // What changed since; the names of the queues that did.
  apply(change) {
    if (change.now) this.top.now = change.now;
    Object.assign(this.top, change.top);
    Object.assign(this.totals, change.totals);
    const changed = new Set();
    for (const part of change.queues) {
      const queue = this.queues.get(part.name);
      if (queue === undefined) {
        prepare(part);
        this.queues.set(part.name, part);
        this.stale = true;
      } else {
        if (part.state !== undefined || part.route !== undefined) this.stale = true;
        Object.assign(queue, part);
        if (part.route !== undefined || part.state !== undefined || part.why !== undefined) prepare(queue);
        if (part.depth !== undefined) queue.seenAt = Date.now();
      }
      changed.add(part.name);
    }
    for (const name of change.gone) {
      this.queues.delete(name);
      this.stale = true;
    }
    if (change.queues.length || change.gone.length) this.sum();
    return changed;
  }

  sum() {
    const sums = { old: null, new: null, unacked: null, consumersOld: null, consumersNew: null, states: {} };
    for (const queue of this.queues.values()) {
      sums.states[queue.state] = (sums.states[queue.state] ?? 0) + 1;
      const old = queue.depth?.old;
      const after = queue.depth?.new;
      if (old) {
        sums.old = (sums.old ?? 0) + (old.ready ?? 0);
        sums.unacked = (sums.unacked ?? 0) + (old.unacked ?? 0);
        sums.consumersOld = (sums.consumersOld ?? 0) + (old.consumers ?? 0);
      }
      if (after) {
        sums.new = (sums.new ?? 0) + (after.ready ?? 0);
        sums.consumersNew = (sums.consumersNew ?? 0) + (after.consumers ?? 0);
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

function prepare(queue) {
  queue.haystack = `${queue.name} ${queue.target ?? ""} ${queue.route} ${queue.state} ${queue.why ?? ""}`.toLowerCase();
  queue.seenAt ??= Date.now();
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
