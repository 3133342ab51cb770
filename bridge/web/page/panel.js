// The middle: one queue, or all together. What flows, what can be asked, how it was lately, and what it waits for.

import { bar, byId, chip, draw, el, icon, mark, pairs, say, show, stretch } from "./dom.js";
import { Chart } from "./chart.js";
import { flowPicture } from "./flow.js";
import { clock, count, duration, millis, plural, rate } from "./format.js";
import { History } from "./history.js";
import { depths, inRate, outRate } from "./model.js";
import { DUE, ORDER, VERBS, stateOf } from "./words.js";

//: Seconds that charts show.
const SPANS = [[300, "5 min"], [900, "15 min"], [3600, "1 h"]];

export class Panel {
  // ask(verb, names or null) opens the dialog; back() shows all queues.
  constructor(model, ask, back) {
    this.model = model;
    this.ask = ask;
    this.back = back;
    this.name = null;
    this.span = 900;
    this.converted = [];
    this.history = new History(model, () => this.charts());
    this.build();
  }

  build() {
    this.title = el("h2", { id: "panel-title", tabindex: "-1" });
    this.goBack = el("button", { type: "button", class: "quiet back", onclick: () => this.back() }, icon("back"), el("span", {}, "All queues"));
    this.status = el("span", { class: "status" });
    this.why = el("p", { class: "why" });
    this.svg = draw("svg", { class: "flow", role: "img" });
    this.verbs = el("div", { class: "verbs", role: "group", "aria-label": "What can be asked" });
    this.scope = el("p", { class: "muted scope" });
    this.numbers = el("dl", { class: "numbers" });
    this.depth = new Chart({
      title: "Depth",
      unit: count,
      series: [{ label: "old", look: "s-old", filled: true }, { label: "new", look: "s-new" }, { label: "ladder", look: "s-ladder" }],
    });
    this.rates = new Chart({
      title: "Rate",
      unit: rate,
      series: [{ label: "published", look: "s-in" }, { label: "moved", look: "s-new", filled: true }],
    });
    this.spans = el("div", { class: "spans", role: "group", "aria-label": "Time shown" }, SPANS.map(([seconds, label]) => el("button", { type: "button", class: "quiet", "aria-pressed": String(seconds === this.span), onclick: (event) => this.setSpan(seconds, event.currentTarget) }, label)));
    this.due = el("div", { class: "due" });
    this.histogram = new Due(this.due);
    this.gate = el("div", { class: "gate" });
    this.waits = el("div", { class: "waits" });
    byId("panel").append(
      el("div", { class: "panel-head" }, this.goBack, this.title, this.status),
      this.why,
      this.svg,
      this.verbs,
      this.scope,
      this.numbers,
      el("div", { class: "charts-head" }, el("h3", {}, "Lately"), this.spans),
      el("div", { class: "charts" }, this.depth.node, this.rates.node),
      el("div", { class: "under" }, this.gate, this.due, this.waits),
    );
    new ResizeObserver(([entry]) => {
      this.width = entry.contentRect.width;
      this.unit = parseFloat(getComputedStyle(this.svg).fontSize) / 14;
      this.picture();
    }).observe(this.svg);
  }

  setSpan(seconds, pressed) {
    this.span = seconds;
    for (const button of this.spans.children) mark(button, "aria-pressed", String(button === pressed));
    this.charts();
  }

  // Show this queue, or with null all.
  open(name) {
    this.name = name;
    this.converted = [];
    this.keys = {};
    this.asked = null;
    this.history.of(name);
    this.update();
    this.charts();
  }

  // Everything of the queue that is open, or its row until that has come; null for all together.
  get queue() {
    if (this.name === null) return null;
    return this.model.open?.name === this.name ? this.model.open : (this.model.queues.get(this.name) ?? null);
  }

  update() {
    if (this.model.top === null) return;
    if (this.name !== null && !this.model.queues.has(this.name)) return this.back();
    this.head();
    this.picture();
    this.buttons();
    this.figures();
    this.rest();
    if (this.history.note()) this.charts();
  }

  once(part, value, act) {
    const key = JSON.stringify(value);
    if (this.keys[part] === key) return;
    this.keys[part] = key;
    act(value);
  }

  head() {
    const { queue, model } = this;
    show(this.goBack, queue !== null);
    if (queue === null) {
      say(this.title, "All queues");
      this.once("status", ["all"], () => this.status.replaceChildren());
      show(this.why, false);
      return;
    }
    say(this.title, queue.name);
    const kind = stateOf(queue);
    const status = [kind.icon, kind.tone, queue.state, queue.route, queue.drained, queue.target];
    this.once("status", status, () => {
      this.status.replaceChildren(chip(kind.icon, kind.tone, queue.state), el("span", { class: "chip calm" }, `route ${queue.route}`), ...(queue.drained ? [chip("done", "good", "old side finished")] : []), ...(queue.target !== queue.name ? [el("span", { class: "muted" }, `→ ${queue.target}`)] : []));
    });
    const since = queue.since ? ` · for ${duration((Date.parse(model.top.now ?? new Date()) - Date.parse(queue.since)) / 1000)}` : "";
    const by = queue.by ? ` · set by ${queue.by}${queue.changed_at ? ` at ${clock(queue.changed_at)}` : ""}${queue.reason ? `: ${queue.reason}` : ""}` : "";
    const planned = queue.planned?.verb ? ` · planned: ${queue.planned.verb} waits ${queue.planned.waits_for ?? ""}${queue.planned.refused ? ` (refused so far: ${queue.planned.refused})` : ""}` : "";
    say(this.why, `${queue.why || (queue.state === "moving" ? "moving" : queue.state)}${since}${by}${planned}`);
    show(this.why, true);
  }

  picture() {
    const { queue, model } = this;
    if (model.top === null || !this.width) return;
    const { sums, totals } = model;
    const inline = model.top.layout === "inline";
    const ladderRate = this.ladderRate((queue ?? totals).converted);
    const [old, unacked, oldConsumers, fresh, newConsumers] = queue ? depths(queue) : [];
    const what = queue
      ? {
          route: queue.route,
          paused: queue.paused,
          moving: queue.state === "moving",
          old,
          unacked,
          oldConsumers,
          new: fresh,
          newConsumers,
          inFlight: queue.in_flight,
          ladder: queue.ladder?.waiting ?? null,
          outRate: outRate(queue) ?? 0,
        }
      : {
          route: "all",
          mixed: true,
          paused: false,
          moving: (totals.rate ?? 0) > 0,
          old: sums.old,
          unacked: sums.unacked,
          oldConsumers: sums.consumersOld,
          new: sums.new,
          newConsumers: sums.consumersNew,
          inFlight: totals.in_flight,
          ladder: totals.ladder?.waiting ?? model.top.ladder?.messages ?? null,
          outRate: outRate(totals) ?? 0,
        };
    flowPicture(this.svg, { ...what, inline, ladderRate }, this.width, this.unit);
    mark(this.svg, "aria-label", `Old queue ${count(what.old)} ready, bridge ${count(what.inFlight)} in flight, new queue ${count(what.new)} ready, ladder ${count(what.ladder)}; moved ${rate(what.outRate)}`);
  }

  // Tasks that went into the ladder, a second, from how many there were lately.
  ladderRate(converted) {
    // Of a row it is not told; the whole queue comes a moment later.
    if (converted === undefined) return 0;
    const now = Date.now();
    this.converted.push([now, converted]);
    while (this.converted.length > 2 && now - this.converted[0][0] > 10_000) this.converted.shift();
    const [then, before] = this.converted[0];
    return now - then >= 1000 ? Math.max(0, ((converted - before) * 1000) / (now - then)) : 0;
  }

  // For all: the queues that are listed, which a filter may have made fewer.
  get names() {
    if (this.name !== null) return [this.name];
    return this.model.filtered ? this.model.order.map((queue) => queue.name) : null;
  }

  buttons() {
    const { model } = this;
    const asked = `${this.name} ${model.asks} ${model.filtered ? `${model.words} ${model.state} ${model.order.length}` : ""}`;
    if (this.asked === asked) return;
    this.asked = asked;
    const among = this.name !== null ? [model.queues.get(this.name)] : model.filtered ? model.order : [...model.queues.values()];
    const offered = new Map();
    for (const queue of among) for (const verb of queue.next ?? []) offered.set(verb, (offered.get(verb) ?? 0) + 1);
    if (among.length) offered.set("rate", among.length);
    const verbs = ORDER.filter((verb) => offered.has(verb) && verb in VERBS);
    const single = this.name !== null;
    this.once("verbs", [this.name, verbs], () => {
      this.verbs.replaceChildren(
        ...verbs.map((verb) => {
          const { label, primary } = VERBS[verb];
          return el("button", { type: "button", class: `verb ${primary && single ? "primary" : ""}`, "data-verb": verb, onclick: () => this.ask(verb, this.names) }, `${label}…`);
        }),
      );
    });
    const old = document.body.classList.contains("old");
    for (const button of this.verbs.children) button.disabled = old;
    say(this.scope, single ? "" : model.filtered ? `These ask for the ${plural(among.length, "queue")} that the filter shows.` : `These ask for all ${plural(among.length, "queue")}.`);
    show(this.scope, !single);
  }

  figures() {
    const one = this.queue ?? this.model.totals;
    const { queue } = this;
    const rates = one.rates ?? {};
    const every = (side) => ["10s", "1m", "10m"].map((span) => rate(rates[side]?.[span]).replace("/s", "")).join(" · ");
    const finish = one.finish;
    const rows = [
      ["Moved", count(one.moved)],
      ["Moved/s: 10 s · 1 · 10 min", rates.out ? every("out") : rate(one.rate)],
      ["Published/s: 10 s · 1 · 10 min", rates.in ? every("in") : "–"],
      ["Finished in", finish?.seconds !== null && finish?.seconds !== undefined ? `${duration(finish.seconds)}, at ${clock(finish.at).replace(/:\d\d$/, "")}` : finish?.why || "–"],
      ["Through the ladder", count(one.converted)],
      ["Confirmed: median · 99 %", one.confirm ? `${millis(one.confirm.p50_ms)} · ${millis(one.confirm.p99_ms)}` : millis(one.confirm_ms)],
      ["Returned · nacked", `${count(one.returned)} · ${count(one.nacked)}`],
      ["Quarantined · exported", `${count(one.quarantined)} · ${count(one.exported)}`],
      ["May run twice", count(one.possible_duplicates)],
      ["Books", balance(queue ? queue.books : this.model.top.books)],
      ...(queue ? [["Brought back", count(queue.back?.brought_back)], ["Limit", queue.limit === undefined ? "–" : queue.limit === null ? "none" : rate(queue.limit)]] : []),
    ];
    if (this.rows !== rows.length) {
      this.rows = rows.length;
      this.numbers.replaceChildren(...pairs(rows));
    }
    rows.forEach(([name, value], index) => {
      say(this.numbers.children[index].firstChild, name);
      say(this.numbers.children[index].lastChild, value);
    });
  }

  rest() {
    const { queue } = this;
    const due = (queue ?? this.model.totals).due ?? null;
    this.histogram.set(due);
    const gate = queue?.gate ?? null;
    this.once("gate", [gate, queue?.name], () => {
      this.gate.replaceChildren(...(gate?.length ? [el("h3", {}, "Gate"), gateRows(gate)] : []));
      show(this.gate, Boolean(gate?.length));
    });
    const waits = queue && queue.route === "quorum" && !queue.drained ? queue.waits_for : null;
    this.once("waits", [waits], () => {
      this.waits.replaceChildren(...(waits?.length ? [el("h3", {}, "The old side is finished when"), el("ul", {}, waits.map((text) => el("li", {}, text)))] : []));
      show(this.waits, Boolean(waits?.length));
    });
  }

  charts() {
    const until = this.history.now();
    const from = until - this.span;
    const points = this.history.points.filter((point) => point[0] >= from - 5);
    const changes = (this.model.top?.changes ?? []).filter((change) => change.outcome === "done" && (this.name === null || change.queue === this.name));
    const marks = changes
      .map((change) => ({ at: Date.parse(change.at) / 1000, label: `${clock(change.at)} ${change.queue}: ${change.verb}` }))
      .filter((one) => one.at >= from)
      .slice(-40);
    this.depth.set(points.map((point) => [point[0], point[1], point[2], point[3]]), from, until, marks);
    this.rates.set(points.map((point) => [point[0], point[4], point[5]]), from, until, marks);
  }
}

const balance = (books) => {
  const all = books?.ahead ? [books.ahead, books.back] : [books];
  return books ? (all.every((one) => one?.balanced ?? true) ? "balanced" : "do not balance") : "–";
};

// The checks of a gate, each with its mark.
export function gateRows(gate) {
  return el(
    "ul",
    { class: "checks" },
    gate.map((row) =>
      el("li", { class: row.ok ? "good" : "bad" }, icon(row.ok ? "done" : "fault"), el("span", {}, el("span", { class: "hidden-text" }, row.ok ? "passes: " : "fails: "), row.text || row.check, !row.ok && row.hint ? el("span", { class: "hint" }, row.hint) : null)),
    ),
  );
}

// Tasks by how long they had to wait; its rows are made once.
class Due {
  constructor(box) {
    this.unknown = el("p", { class: "muted" }, "not known");
    this.rows = DUE.map(([key, label]) => ({ key, bar: bar(0, 1), number: el("td", { class: "number" }), label }));
    const rows = this.rows.map(({ label, bar: plot, number }) => el("tr", {}, el("th", { scope: "row" }, label), el("td", { class: "plot" }, plot), number));
    this.table = el("table", { class: "bars" }, el("caption", { class: "hidden-text" }, "Tasks by how long they had to wait when they were converted"), el("tbody", {}, rows));
    box.append(el("h3", {}, "Due when converted"), this.unknown, this.table);
  }

  set(due) {
    const known = due !== null && due !== undefined;
    show(this.unknown, !known);
    show(this.table, known);
    if (!known) return;
    const most = Math.max(1, ...DUE.map(([key]) => due[key] ?? 0));
    for (const row of this.rows) {
      say(row.number, count(due[row.key] ?? 0));
      stretch(row.bar, due[row.key] ?? 0, most);
    }
  }
}
