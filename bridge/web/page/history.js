// Points over time of one queue, or of all: those the daemon kept, and those that came while the page was open.

import { inRate, newReady, oldReady, outRate } from "./model.js";

//: Seconds between two points, and how many are kept: an hour.
const EVERY = 5;
const MOST = 720;
//: Seconds after which the daemon's own points are asked for again: it may have been started anew.
const RELOAD = 60;

export class History {
  constructor(model, changed) {
    this.model = model;
    this.changed = changed;
    this.name = null;
    this.points = [];
    this.loaded = 0;
    this.known = true;
  }

  // Show those of this queue; null is all together.
  of(name) {
    this.name = name;
    this.points = [];
    this.loaded = 0;
    this.note();
    this.load();
  }

  async load() {
    const { name } = this;
    this.loaded = Date.now();
    if (!this.known) return;
    try {
      const query = name === null ? "" : `?queue=${encodeURIComponent(name)}`;
      const answer = await fetch(`/api/history${query}`, { signal: AbortSignal.timeout(10_000), cache: "no-store" });
      // A daemon without this look: the page has what it saw itself.
      if (answer.status === 404 && name === null) this.known = false;
      if (!answer.ok) return;
      const told = await answer.json();
      if (this.name !== name || !told.points.length) return;
      const last = told.points[told.points.length - 1][0];
      this.points = [...told.points, ...this.points.filter((point) => point[0] > last + EVERY / 2)].slice(-MOST);
      this.changed();
    } catch {
      // The daemon does not answer: the page says so elsewhere, and asks again.
    }
  }

  // Note how it is now; whether a point was added.
  note() {
    const now = this.now();
    const last = this.points[this.points.length - 1];
    if (last && now - last[0] < EVERY) return false;
    const point = this.point(now);
    if (point === null) return false;
    this.points.push(point);
    if (this.points.length > MOST) this.points.shift();
    if (Date.now() - this.loaded > RELOAD * 1000) this.load();
    return true;
  }

  // Seconds by the daemon's clock: its points and ours are on one line.
  now() {
    const told = Date.parse(this.model.top?.now ?? "");
    return (Number.isNaN(told) ? Date.now() : told) / 1000;
  }

  point(at) {
    const { model, name } = this;
    if (name === null) {
      const { totals, sums } = model;
      return [at, sums.old, sums.new, totals.ladder?.waiting ?? model.top?.ladder?.messages ?? null, inRate(totals), outRate(totals), totals.confirm?.p50_ms ?? null];
    }
    const queue = model.open;
    if (queue === null || queue.name !== name) return null;
    return [at, oldReady(queue), newReady(queue), queue.ladder?.waiting ?? null, inRate(queue), outRate(queue), queue.confirm?.p50_ms ?? queue.confirm_ms ?? null];
  }
}
