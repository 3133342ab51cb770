// Lines over time: a few series on one scale, what they are now beside their names, and what they were where one points.

import { draw, el, mark, patch, say } from "./dom.js";
import { short, shortClock } from "./format.js";

const LEFT = 42;
const BELOW = 20;
const ABOVE = 8;

export class Chart {
  // series: [{key, label, look}], `look` is a class of the style sheet; unit formats a value.
  constructor({ title, series, unit }) {
    this.series = series;
    this.unit = unit;
    this.points = [];
    this.at = null;
    this.values = series.map(() => el("b", {}));
    this.when = el("span", { class: "muted when" });
    this.plot = draw("g");
    this.cross = draw("line", { class: "cross" });
    this.svg = draw("svg", { class: "chart-plot", role: "img" }, this.plot, this.cross);
    this.title = title;
    this.node = el(
      "figure",
      { class: "chart" },
      el(
        "figcaption",
        {},
        el("span", { class: "chart-title" }, title),
        series.map((one, index) => el("span", { class: "key" }, draw("svg", { class: `swatch ${one.look}`, viewBox: "0 0 18 8", "aria-hidden": "true" }, draw("path", { d: "M0 4h18" })), el("span", {}, one.label), this.values[index])),
        this.when,
      ),
      this.svg,
    );
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.unpoint());
    // Asked of the observer alone: to ask the element would lay the page out at each update.
    new ResizeObserver(([entry]) => {
      this.size = entry.contentRect;
      this.render();
    }).observe(this.svg);
  }

  // points: [[seconds, value of each series...]], oldest first; marks: [{at, label}], changes of the route.
  set(points, from, until, marks = []) {
    Object.assign(this, { points, from, until, marks });
    this.render();
  }

  render() {
    const { width = 0, height = 0 } = this.size ?? {};
    if (!width || !height || this.from === undefined) return;
    let most = 0;
    for (const point of this.points) for (let one = 1; one < point.length; one += 1) if (point[one] > most) most = point[one];
    const steps = ticks(most);
    const top = steps[steps.length - 1];
    const x = (at) => LEFT + ((at - this.from) / (this.until - this.from)) * (width - LEFT - 4);
    const y = (value) => ABOVE + (1 - value / top) * (height - ABOVE - BELOW);
    this.scale = { x, width };
    const nodes = [];
    for (const step of steps) {
      nodes.push(["line", { class: "grid", x1: LEFT, x2: width, y1: y(step), y2: y(step) }]);
      nodes.push(["text", { class: "tick", x: LEFT - 6, y: y(step) + 4, "text-anchor": "end" }, short(step)]);
    }
    for (const at of times(this.from, this.until, width)) {
      nodes.push(["text", { class: "tick", x: x(at), y: height - 4, "text-anchor": "middle" }, shortClock(at)]);
    }
    for (const one of this.marks) {
      const place = x(one.at);
      nodes.push(["g", { class: "change" }, [["title", {}, one.label], ["line", { x1: place, x2: place, y1: ABOVE, y2: height - BELOW }], ["path", { d: `M${place - 4} ${ABOVE - 4}h8l-4 6z` }]]]);
    }
    this.series.forEach((one, index) => {
      const line = path(this.points, index + 1, x, y);
      if (one.filled && line) nodes.push(["path", { class: `area ${one.look}`, d: filled(this.points, index + 1, x, y) }]);
      nodes.push(["path", { class: `line ${one.look}`, d: line }]);
    });
    mark(this.svg, "viewBox", `0 0 ${width} ${height}`);
    patch(this.plot, nodes);
    mark(this.cross, "y1", String(ABOVE));
    mark(this.cross, "y2", String(height - BELOW));
    this.tell();
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - 4);
    this.at = this.from + share * (this.until - this.from);
    this.tell();
  }

  unpoint() {
    this.at = null;
    this.tell();
  }

  tell() {
    const point = this.at === null ? this.points[this.points.length - 1] : nearest(this.points, this.at);
    this.series.forEach((_, index) => say(this.values[index], point ? this.unit(point[index + 1]) : this.unit(null)));
    say(this.when, this.at !== null && point ? new Date(point[0] * 1000).toLocaleTimeString([], { hour12: false }) : "");
    if (this.at !== null && point) {
      const place = this.scale.x(point[0]);
      this.cross.setAttribute("x1", place);
      this.cross.setAttribute("x2", place);
    }
    this.cross.classList.toggle("on", this.at !== null && Boolean(point));
    const now = this.points[this.points.length - 1];
    const told = this.series.map((one, index) => `${one.label} ${now ? this.unit(now[index + 1]) : "not known"}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.title}: now ${told}`);
  }
}

function path(points, index, x, y) {
  let line = "";
  let open = false;
  for (const point of points) {
    const value = point[index];
    if (value === null || value === undefined) {
      open = false;
      continue;
    }
    line += `${open ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(value).toFixed(1)}`;
    open = true;
  }
  return line;
}

function filled(points, index, x, y) {
  const known = points.filter((point) => point[index] !== null && point[index] !== undefined);
  if (!known.length) return "";
  return `${path(known, index, x, y)}L${x(known[known.length - 1][0]).toFixed(1)} ${y(0)}L${x(known[0][0]).toFixed(1)} ${y(0)}Z`;
}

function nearest(points, at) {
  let best = null;
  for (const point of points) if (best === null || Math.abs(point[0] - at) < Math.abs(best[0] - at)) best = point;
  return best;
}

// Round steps from nothing to just above the most.
function ticks(most) {
  const rough = Math.max(most, 1) / 3;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((one) => one * ten >= rough) * ten;
  const found = [0];
  while (found[found.length - 1] < most || found.length < 3) found.push(found[found.length - 1] + step);
  return found;
}

function times(from, until, width) {
  const span = until - from;
  const step = [60, 120, 300, 600, 900, 1800].find((one) => (span / one) * 70 <= width) ?? 3600;
  const found = [];
  for (let at = Math.ceil((from + span * 0.02) / step) * step; at < until - span * (22 / width); at += step) found.push(at);
  return found;
}
