// The picture of a queue: old, bridge, new, and what goes which way. Widths go by the rate, numbers say it exactly.

import { patch } from "./dom.js";
import { count, rate } from "./format.js";

const NODE = 128;
const HEIGHT = 74;
const SMALL = 42;
//: From this width on it goes from left to right; below, from the top down.
const WIDE = 560;

const thickness = (perSecond) => (perSecond > 0 ? Math.min(26, 3 + 5.5 * Math.log10(1 + perSecond)) : 1.5);

// what: {inline, route, paused, moving, old, unacked, oldConsumers, inFlight, new, newConsumers, ladder, inRate, outRate, ladderRate, legacyRate}
// width of the picture, unit of its type (1 where a line of it is 14 pixels high).
export function flowPicture(svg, what, width, unit) {
  const wide = width >= WIDE * unit;
  const place = wide ? across(width, unit, what.inline) : down(width, unit);
  if (svg.shape !== `${width} ${place.height}`) {
    svg.shape = `${width} ${place.height}`;
    svg.setAttribute("viewBox", `0 0 ${svg.shape}`);
    svg.style.height = `${place.height}px`;
  }
  const forward = what.route === "quorum" || what.route === "canary" || what.route === "dual";
  const back = what.route === "reverse";
  const moves = what.moving && !what.paused;
  const nodes = [];
  const band = (from, to, perSecond, look, live, label) => nodes.push(...ribbon(from, to, perSecond, look, live, label, unit));
  const { old, bridge, fresh, ladder, workers, doers } = place;
  if (back) {
    band(side(fresh, bridge), side(bridge, fresh), what.outRate, "b-new", moves, rate(what.outRate));
    if (!what.inline) band(side(bridge, old), side(old, bridge), what.outRate, "b-old", moves, "");
  } else if (what.mixed || forward || what.paused) {
    const out = forward || what.mixed ? what.outRate : 0;
    band(side(old, bridge), side(bridge, old), out, "b-old", moves, "");
    band(side(bridge, fresh), side(fresh, bridge), out, "b-new", moves, rate(out));
  } else {
    band(side(old, bridge), side(bridge, old), 0, "b-none", false, "");
    band(side(bridge, fresh), side(fresh, bridge), 0, "b-none", false, "");
  }
  // Inline the bridge itself feeds the old workers, on the legacy side.
  if (what.inline) {
    const feeds = !what.paused && what.route !== "quorum";
    const all = feeds && (what.route === "legacy" || what.route === "dual" || what.route === "reverse");
    if (all && what.route !== "dual") band(side(old, bridge), side(bridge, old), what.outRate, "b-old", moves, "");
    const look = feeds ? "b-old" : "b-none";
    if (wide) band(side(bridge, workers), side(workers, bridge), all ? what.outRate : 0, look, moves, "");
    else nodes.push(["path", { class: `band ${look} thin`, d: `M${bridge.x + bridge.w} ${bridge.y + 8}C${workers.cx} ${bridge.y + 8} ${workers.cx} ${bridge.y} ${workers.cx} ${workers.y + workers.h}`, "stroke-width": 1.5 }]);
  }
  const heldOld = (what.route === "legacy" || what.route === "canary" || what.route === "reverse" || what.mixed);
  if (!what.inline) band(side(old, workers), side(workers, old), 0, heldOld ? "b-old thin" : "b-none", false, "");
  band(side(fresh, doers), side(doers, fresh), 0, what.newConsumers ? "b-new thin" : "b-none", false, "");
  if (ladder) nodes.push(...throughLadder(place, what, moves, unit));
  nodes.push(node(old, "n-old", "Old queue", count(what.old), what.unacked ? `${count(what.unacked)} unacked` : "ready", unit));
  nodes.push(node(bridge, "n-bridge", "Bridge", count(what.inFlight), what.paused ? "paused" : "in flight", unit));
  nodes.push(node(fresh, "n-new", "New queue", count(what.new), "ready", unit));
  nodes.push(small(workers, "n-old", what.inline ? "legacy side" : "old workers", what.inline ? "old workers" : count(what.oldConsumers), unit));
  nodes.push(small(doers, "n-new", "new workers", count(what.newConsumers), unit));
  if (ladder) nodes.push(small(ladder, "n-ladder", "ladder (ETA)", count(what.ladder), unit));
  patch(svg, nodes);
}

const box = (x, y, w, h) => ({ x, y, w, h, cx: x + w / 2, cy: y + h / 2 });

function across(width, unit, inline) {
  const w = NODE * unit;
  const h = HEIGHT * unit;
  const s = SMALL * unit;
  const y = 64 * unit;
  const middle = (width - w) / 2;
  const right = width - w - 1;
  const low = y + h + 26 * unit;
  const between = (middle + w + right) / 2;
  return {
    height: low + s + 2,
    old: box(1, y, w, h),
    bridge: box(middle, y, w, h),
    fresh: box(right, y, w, h),
    ladder: box(Math.min(between - w / 2, right - w * 0.62), 2, w, s),
    workers: box(inline ? middle : 1, low, w, s),
    doers: box(right, low, w, s),
    across: true,
  };
}

function down(width, unit) {
  const w = Math.min(NODE * 1.15 * unit, width * 0.46);
  const h = (HEIGHT - 8) * unit;
  const s = SMALL * unit;
  const gap = 38 * unit;
  const x = 1;
  const right = width - w - 1;
  return {
    height: 3 * h + 2 * gap + 4,
    old: box(x, 1, w, h),
    bridge: box(x, h + gap, w, h),
    fresh: box(x, 2 * (h + gap), w, h),
    ladder: box(right, h + gap + (h - s) / 2, w, s),
    workers: box(right, (h - s) / 2 + 1, w, s),
    doers: box(right, 2 * (h + gap) + (h - s) / 2, w, s),
    across: false,
  };
}

// Where a band leaves `from` towards `to`.
function side(from, to) {
  if (Math.abs(from.cy - to.cy) < 1) return { x: to.x > from.x ? from.x + from.w : from.x, y: from.cy, along: "x", sign: to.x > from.x ? 1 : -1 };
  return { x: from.cx, y: to.y > from.y ? from.y + from.h : from.y, along: "y", sign: to.y > from.y ? 1 : -1 };
}

function ribbon(from, to, perSecond, look, live, label, unit) {
  const flat = from.along === "x";
  const bend = flat ? (to.x - from.x) / 2 : (to.y - from.y) / 2;
  const d = flat
    ? `M${from.x} ${from.y}C${from.x + bend} ${from.y} ${to.x - bend} ${to.y} ${to.x} ${to.y}`
    : `M${from.x} ${from.y}C${from.x} ${from.y + bend} ${to.x} ${to.y - bend} ${to.x} ${to.y}`;
  const wide = thickness(perSecond);
  const drawn = [["path", { class: `band ${look}`, d, "stroke-width": wide.toFixed(1) }]];
  if (live && perSecond > 0) drawn.push(["path", { class: `run ${look}`, d, "stroke-width": Math.max(1.5, wide / 4).toFixed(1) }]);
  if (look !== "b-none" && !look.includes("thin")) drawn.push(arrow(to, look, unit));
  if (label) {
    const x = flat ? (from.x + to.x) / 2 : from.x + 14 * unit;
    const y = flat ? from.y - wide / 2 - 6 * unit : (from.y + to.y) / 2 + 4 * unit;
    drawn.push(["text", { class: "on-band", x, y, "text-anchor": flat ? "middle" : "start" }, label]);
  }
  return drawn;
}

function arrow(to, look, unit) {
  const size = 7 * unit;
  // `to` is the edge of the node, seen from the node: the arrow points into it.
  const d = to.along === "x"
    ? `M${to.x} ${to.y}l${to.sign * size} ${-size}v${2 * size}z`
    : `M${to.x} ${to.y}l${-size} ${to.sign * size}h${2 * size}z`;
  return ["path", { class: `tip ${look}`, d }];
}

function throughLadder({ bridge, fresh, ladder, across: flat }, what, moves, unit) {
  const active = what.ladderRate > 0;
  const look = what.ladder > 0 || active ? "b-ladder" : "b-none";
  const up = flat
    ? `M${bridge.cx + bridge.w * 0.25} ${bridge.y}C${bridge.cx + bridge.w * 0.25} ${ladder.cy} ${ladder.x - 30 * unit} ${ladder.cy} ${ladder.x} ${ladder.cy}`
    : `M${bridge.x + bridge.w} ${bridge.cy}L${ladder.x} ${ladder.cy}`;
  const off = flat
    ? `M${ladder.x + ladder.w} ${ladder.cy}C${fresh.cx} ${ladder.cy} ${fresh.cx} ${ladder.cy + 10 * unit} ${fresh.cx} ${fresh.y}`
    : `M${ladder.cx} ${ladder.y + ladder.h}C${ladder.cx} ${fresh.y - 4 * unit} ${ladder.cx - 20 * unit} ${fresh.y + 8 * unit} ${fresh.x + fresh.w} ${fresh.y + 12 * unit}`;
  const wide = thickness(what.ladderRate).toFixed(1);
  const drawn = [
    ["path", { class: `band ${look}`, d: up, "stroke-width": wide }],
    ["path", { class: `band ${look}`, d: off, "stroke-width": active ? Math.max(1.5, wide / 2) : 1.5 }],
  ];
  if (moves && active) drawn.push(["path", { class: `run ${look}`, d: up, "stroke-width": 2 }]);
  return drawn;
}

const node = ({ x, y, w, h, cx }, look, name, number, note, unit) => [
  "g",
  { class: `node ${look}` },
  [
    ["rect", { x, y, width: w, height: h, rx: 9 * unit }],
    ["text", { class: "node-name", x: cx, y: y + 19 * unit, "text-anchor": "middle" }, name],
    ["text", { class: "node-number", x: cx, y: y + 43 * unit, "text-anchor": "middle" }, number],
    ["text", { class: "node-note", x: cx, y: y + 60 * unit, "text-anchor": "middle" }, note],
  ],
];

const small = ({ x, y, w, h, cx }, look, name, number, unit) => [
  "g",
  { class: `node small ${look}` },
  [
    ["rect", { x, y, width: w, height: h, rx: 7 * unit }],
    ["text", { class: "node-name", x: cx, y: y + 17 * unit, "text-anchor": "middle" }, name],
    ["text", { class: "node-figure", x: cx, y: y + 34 * unit, "text-anchor": "middle" }, number],
  ],
];
