// The list of queues: however many there are, only the rows that can be seen exist.

import { byId, el, icon, mark, say, show } from "./dom.js";
import { count, rate, short } from "./format.js";
import { newReady, oldReady, outRate } from "./model.js";
import { STATES, stateOf } from "./words.js";

//: Rows beyond both edges, so that a small scroll shows no gap.
const SPARE = 4;
//: The old side is finished: that says more than that nothing comes any more.
const DRAINED = { icon: "done", tone: "good" };
const COLUMNS = [
  ["name", "Queue", "text"],
  ["state", "State", "text"],
  ["old", "Old", "number", "Ready in the old queue"],
  ["new", "New", "number", "Ready in the new queue"],
  ["rate", "Moved", "number", "Messages moved a second"],
];

export class List {
  // choose(name) is called when a queue is chosen.
  constructor(model, choose) {
    this.model = model;
    this.choose = choose;
    this.box = byId("rows");
    this.rows = [];
    this.first = 0;
    this.height = 0;
    this.selected = null;
    this.before = spacer();
    this.after = spacer();
    this.body = el("tbody", {}, this.before, this.after);
    this.heads = new Map();
    this.table = el("table", { class: "queues" }, el("thead", {}, el("tr", { "aria-rowindex": 1 }, COLUMNS.map((column) => this.head(column)))), this.body);
    this.box.append(this.table);
    this.chips = new Map();
    this.top = 0;
    this.box.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.box.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.measure()).observe(this.box);
    byId("filter").addEventListener("input", (event) => this.filter(event.target.value));
    this.marks();
  }

  head([key, label, kind, title]) {
    const button = el("button", { type: "button", title, onclick: () => this.sortBy(key) }, el("span", {}, label), icon("down", "sort"));
    const cell = el("th", { scope: "col", class: `c-${key} ${kind}` }, button);
    this.heads.set(key, cell);
    return cell;
  }

  sortBy(key) {
    const { model } = this;
    if (model.sort !== key) [model.sort, model.upward] = [key, false];
    else if (!model.upward) model.upward = true;
    else [model.sort, model.upward] = ["attention", false];
    model.arrange(true);
    this.marks();
    this.render(true);
  }

  marks() {
    const { sort, upward } = this.model;
    for (const [key, cell] of this.heads) {
      // Names begin with a, numbers with the largest: that is what the first click gives.
      const rises = (key === "name" || key === "state") !== upward;
      const direction = rises ? "ascending" : "descending";
      mark(cell, "aria-sort", key === sort ? direction : "none");
    }
  }

  filter(text) {
    this.model.filter(text);
    this.box.scrollTop = this.top = 0;
    this.render(true);
    this.onfilter?.();
  }

  only(state) {
    this.model.state = this.model.state === state ? "" : state;
    this.model.arrange(true);
    this.box.scrollTop = this.top = 0;
    this.render(true);
    this.onfilter?.();
  }

  // The states there are, each with how many queues have it.
  renderStates() {
    const states = this.model.sums.states;
    for (const [state, kind] of Object.entries(STATES)) {
      const number = states[state] ?? 0;
      let chip = this.chips.get(state);
      if (chip === undefined) {
        if (number === 0) continue;
        chip = el("button", { type: "button", class: `chip ${kind.tone}`, "aria-pressed": "false", onclick: () => this.only(state) }, icon(kind.icon), el("span", {}), el("b", {}));
        chip.dataset.rank = kind.rank;
        this.chips.set(state, chip);
        const next = [...byId("states").children].find((other) => Number(other.dataset.rank) > kind.rank);
        byId("states").insertBefore(chip, next ?? null);
        say(chip.children[1], state);
      }
      say(chip.children[2], count(number));
      mark(chip, "aria-pressed", String(this.model.state === state));
      show(chip, number > 0 || this.model.state === state);
    }
  }

  scrolled() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.top = this.box.scrollTop;
      this.render(false);
    });
  }

  measure() {
    if (!this.rows.length) return;
    const height = this.rows[0].node.getBoundingClientRect().height;
    const space = this.box.clientHeight;
    if (!height || (height === this.height && space === this.space)) return;
    this.height = height;
    this.space = space;
    this.render(true);
  }

  // Bring the rows that can be seen up to date. `anew`: their number or place may have changed.
  render(anew) {
    const { order } = this.model;
    if (anew) {
      mark(this.table, "aria-rowcount", String(order.length + 1));
      say(byId("shown"), this.model.filtered ? `${count(order.length)} of ${count(this.model.queues.size)}` : count(order.length));
    }
    const height = this.height || 40;
    const most = Math.ceil((this.space || 800) / height) + 2 * SPARE;
    const last = Math.max(0, order.length - most);
    const first = Math.min(last, Math.max(0, Math.floor(this.top / height) - SPARE));
    const number = Math.min(most, order.length);
    while (this.rows.length < number) this.grow();
    this.first = first;
    for (let place = 0; place < this.rows.length; place += 1) this.fill(this.rows[place], order[first + place], first + place, place < number);
    pad(this.before, first * height);
    pad(this.after, Math.max(0, order.length - first - number) * height);
    if (order.length === 0) this.nothing();
    else this.empty?.remove();
  }

  nothing() {
    this.empty ??= el("p", { class: "empty" });
    say(this.empty, this.model.queues.size ? "No queue fits the filter." : "No queue is in scope.");
    if (!this.empty.isConnected) this.box.append(this.empty);
  }

  grow() {
    const link = el("a", { class: "name" });
    const target = el("span", { class: "muted target" });
    const symbol = el("span", { class: "symbol" });
    const state = el("span", { class: "word" });
    const cells = [
      el("th", { scope: "row", class: "c-name" }, link, target),
      el("td", { class: "c-state" }, el("span", { class: "state" }, symbol, state)),
      el("td", { class: "c-old number" }),
      el("td", { class: "c-new number" }),
      el("td", { class: "c-rate number" }),
    ];
    const node = el("tr", {}, cells);
    node.addEventListener("click", (event) => {
      if (!event.target.closest("a")) this.choose(link.dataset.name);
    });
    this.body.insertBefore(node, this.after);
    this.rows.push({ node, link, target, symbol, state, cells, icon: "", tone: "" });
  }

  fill(row, queue, index, used) {
    show(row.node, used);
    if (!used) return;
    if (row.name !== queue.name) {
      row.name = queue.name;
      say(row.link, queue.name);
      row.link.title = queue.name;
      row.link.dataset.name = queue.name;
      row.link.href = `#queue=${encodeURIComponent(queue.name)}`;
    }
    if (row.index !== index) {
      row.index = index;
      mark(row.node, "aria-rowindex", String(index + 2));
    }
    const after = queue.target && queue.target !== queue.name ? `→ ${queue.target}` : "";
    say(row.target, after);
    const kind = queue.drained ? DRAINED : stateOf(queue);
    const word = queue.drained ? "drained" : queue.state === "moving" && queue.route !== "quorum" ? queue.route : queue.state;
    if (row.icon !== kind.icon) {
      row.icon = kind.icon;
      row.symbol.replaceChildren(icon(kind.icon));
    }
    if (row.tone !== kind.tone) {
      row.tone = kind.tone;
      row.cells[1].firstChild.className = `state ${kind.tone}`;
    }
    say(row.state, queue.planned ? `${word}, planned` : word);
    say(row.cells[2], fitting(oldReady(queue)));
    say(row.cells[3], fitting(newReady(queue)));
    say(row.cells[4], rate(outRate(queue)));
    const selected = queue.name === this.selected;
    if (row.selected !== selected) {
      row.selected = selected;
      mark(row.node, "class", selected ? "selected" : null);
      mark(row.link, "aria-current", selected ? "true" : null);
    }
  }

  select(name) {
    this.selected = name;
    this.render(false);
  }

  // Up and down go from queue to queue, whatever has the focus in the list.
  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    const { order } = this.model;
    if (!order.length) return;
    event.preventDefault();
    const now = order.findIndex((queue) => queue.name === (document.activeElement?.dataset?.name ?? this.selected));
    const next = now < 0 ? (step > 0 ? 0 : order.length - 1) : Math.min(order.length - 1, Math.max(0, now + step));
    this.reveal(next);
    this.choose(order[next].name);
    this.rows.find((row) => row.index === next)?.link.focus({ preventScroll: true });
  }

  reveal(index) {
    const top = index * this.height;
    const head = this.table.tHead.offsetHeight;
    const space = this.box.clientHeight - head;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + this.height > this.box.scrollTop + space) this.box.scrollTop = top + this.height - space;
    this.top = this.box.scrollTop;
    this.render(false);
  }}

const fitting = (value) => (value >= 1e6 ? short(value) : count(value));

function spacer() {
  return el("tr", { class: "spacer", "aria-hidden": "true" }, el("td", { colspan: COLUMNS.length }));
}

function pad(row, height) {
  show(row, height > 0);
  row.firstChild.style.height = `${height}px`;
}
