// The head of the page: who this is, one sentence on what waits, and the numbers that are asked first.

import { byId, el, icon, mark, pairs, say, show } from "./dom.js";
import { clock, count, duration, rate } from "./format.js";
import { inRate, outRate, sentence } from "./model.js";
import { STATES } from "./words.js";

const FIGURES = ["Moved", "Published", "Waiting on the old side", "In flight", "In the ladder", "Finished in", "May run twice"];

export class Head {
  constructor(model) {
    this.model = model;
    const rows = pairs(FIGURES.map((name) => [name, "–"]));
    byId("figures").append(...rows);
    this.figures = rows.map((row) => row.lastChild);
    this.facts = "";
  }

  update() {
    const { model } = this;
    const { top, totals, sums } = model;
    say(byId("instance"), top.instance);
    document.title = `${top.instance} · bridge`;
    this.renderFacts();
    const [moved, published, waiting, flight, ladder, finish, twice] = this.figures;
    say(moved, rate(outRate(totals)));
    say(published, rate(inRate(totals)));
    say(waiting, count(sums.old));
    say(flight, count(totals.in_flight));
    say(ladder, count(totals.ladder?.waiting ?? top.ladder?.messages));
    const done = totals.finish ?? null;
    say(finish, done?.seconds !== null && done?.seconds !== undefined ? duration(done.seconds) : "–");
    mark(finish, "title", done ? done.why || (done.at ? `at ${clock(done.at)}` : null) : null);
    say(twice, count(totals.possible_duplicates));
    const stuck = sums.states;
    const worst = Object.entries(STATES).find(([state, kind]) => kind.rank <= 2 && stuck[state]);
    const off = ["source", "target", "legacy"].some((side) => top[side] && !top[side].connected);
    this.tone = off || worst?.[1].tone === "bad" ? "bad" : worst || top.standby ? "warn" : "good";
    this.text = sentence(model);
    say(byId("version"), `bridge ${top.version} · since ${clock(top.since)} · process ${top.pid}`);
  }

  renderFacts() {
    const { top } = this.model;
    const facts = [
      [top.state === "active" ? "done" : "wait", top.state === "active" ? "good" : "warn", top.state, ""],
      ["note", "calm", `${top.layout} layout`, ""],
    ];
    for (const side of ["source", "target", "legacy"]) {
      const one = top[side];
      if (!one) continue;
      const word = one.connected ? (one.reason ? "blocked" : "connected") : "not connected";
      facts.push([one.connected ? (one.reason ? "warn" : "done") : "fault", one.connected ? (one.reason ? "warn" : "good") : "bad", `${side} ${word}`, `${one.url}${one.reason ? `: ${one.reason}` : ""}`]);
    }
    if (top.probe) {
      const { fault, last_ms: last } = top.probe;
      facts.push([fault ? "fault" : "done", fault ? "bad" : "good", fault ? "probe failed" : `probe ${Math.round(last ?? 0)} ms`, fault ?? "a message of our own through the whole way"]);
    }
    for (const [key, text] of [["reload_fault", "reload refused"], ["control", "state not saved"], ["ladder", "ladder"], ["backup", "backup"]]) {
      const fault = key === "reload_fault" ? top.reload_fault : top[key]?.fault;
      if (fault) facts.push(["fault", "bad", `${text}: ${fault}`, fault]);
    }
    if (top.limit) facts.push(["wait", "warn", `limited to ${rate(top.limit)}`, "all queues together"]);
    if (top.lost_features?.length) facts.push(["warn", "warn", `${top.lost_features.length} features lost`, top.lost_features.join("\n")]);
    const key = JSON.stringify(facts);
    if (key === this.facts) return;
    this.facts = key;
    byId("facts").replaceChildren(...facts.map(([symbol, tone, text, title]) => el("li", { class: `chip ${tone}`, title }, icon(symbol), el("span", {}, text))));
  }

  // What is known may be old: the sentence says so, and nothing can be asked meanwhile.
  health({ fresh, since, why, polling }) {
    const box = byId("sentence-box");
    let [text, tone] = [this.text ?? "Connecting…", this.tone ?? "calm"];
    if (!fresh) {
      tone = "bad";
      text = since === null ? "The daemon does not answer." : `The daemon does not answer since ${clock(new Date(since))}.`;
      if (why) text = since === null ? `No answer: ${why}` : `No news since ${clock(new Date(since))}: ${why}`;
    }
    say(byId("sentence"), text);
    if (this.shown !== tone) {
      this.shown = tone;
      box.className = `sentence ${tone}`;
      byId("sentence-icon").replaceChildren(icon({ bad: "fault", warn: "wait", good: "done", calm: "wait" }[tone]));
    }
    const age = since === null ? null : (Date.now() - since) / 1000;
    const live = polling ? "every 5 s" : "live";
    say(byId("pulse"), fresh ? live : age === null ? "no connection" : `${duration(age)} old`);
    mark(byId("pulse"), "class", `pulse ${fresh ? "good" : "bad"}`);
    mark(byId("pulse"), "title", polling ? "other pages have all live streams: this one looks every 5 s" : "how old what is shown is");
    document.body.classList.toggle("old", !fresh);
    for (const button of document.querySelectorAll("button.verb")) if (button.disabled === fresh) button.disabled = !fresh;
    show(byId("columns"), this.text !== undefined);
  }
}
