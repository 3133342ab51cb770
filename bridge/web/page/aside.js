// Beside the queues: the ladder's levels, what check finds, who changed what, and who is still on the old side.

import { bar, byId, chip, el, icon, mark, say, stretch } from "./dom.js";
import { clock, count, duration } from "./format.js";
import { OUTCOMES, SEVERITIES } from "./words.js";

//: Changes that are shown, the newest first, and findings before "more".
const CHANGES = 40;
const FINDINGS = 60;
//: Milliseconds between two questions for the findings: the daemon looks far less often by itself.
const CHECK = 60_000;
const RUNNING = 2000;

export class Aside {
  constructor(model) {
    this.model = model;
    this.name = null;
    this.keys = {};
    const card = (title, ...more) => {
      // It scrolls where it is long, also by keys.
      const body = el("div", { class: "card-body", tabindex: 0, role: "group", "aria-label": title });
      const heading = el("h2", {}, title);
      byId("side").append(el("section", { class: "card" }, el("div", { class: "card-head" }, heading, ...more), body));
      return { body, heading };
    };
    this.again = el("button", { type: "button", class: "quiet", onclick: () => this.check(true) }, "Check again");
    this.checked = el("span", { class: "muted" });
    this.changes = card("Changes");
    this.findings = card("Findings", this.checked, this.again);
    this.ladder = card("Ladder");
    this.old = card("Old side");
    this.check(false);
  }

  open(name) {
    this.name = name;
    this.update();
  }

  once(part, value, act) {
    const key = JSON.stringify(value);
    if (this.keys[part] === key) return;
    this.keys[part] = key;
    act();
  }

  update() {
    const { top } = this.model;
    if (top === null) return;
    const changes = top.changes ?? [];
    if (this.seen !== changes || this.named !== this.name) {
      [this.seen, this.named] = [changes, this.name];
      this.renderChanges(changes);
    }
    if (this.rungs !== top.ladder) this.renderLadder((this.rungs = top.ladder));
    if (this.olds !== top.old_side) this.renderOld((this.olds = top.old_side));
  }

  renderChanges(all) {
    const mine = this.name === null ? all : all.filter((change) => change.queue === this.name || change.queue === "*");
    say(this.changes.heading, this.name === null ? "Changes" : `Changes of ${this.name}`);
    if (!mine.length) return void this.changes.body.replaceChildren(el("p", { class: "muted" }, "Nobody changed anything yet."));
    const rows = mine.slice(-CHANGES).reverse().map((change) => {
      const outcome = OUTCOMES[change.outcome] ?? OUTCOMES.done;
      const verb = change.verb === "reverse" ? "rollback --reverse" : change.verb;
      const route = change.before === change.after ? "" : ` ${change.before} → ${change.after}`;
      return el(
        "li",
        { class: outcome.tone },
        icon(outcome.icon),
        el("div", {}, el("div", { class: "line" }, el("b", {}, change.queue === "*" ? "all queues" : change.queue), ` ${verb} ${change.outcome === "done" ? "" : outcome.word}`, el("span", { class: "muted" }, route)), el("div", { class: "muted" }, `${clock(change.at)} · ${change.by} · ${change.door}${change.reason ? ` · ${change.reason}` : ""}`), change.outcome === "refused" ? el("div", { class: "told" }, change.text) : null),
      );
    });
    this.changes.body.replaceChildren(el("ol", { class: "timeline" }, rows));
  }

  renderLadder(ladder) {
    const { body } = this.ladder;
    const told = [];
    for (const [kind, text] of [["bad", ladder?.fault], ["warn", ladder?.warning]]) {
      if (text) told.push(el("p", { class: `told ${kind}` }, icon(kind === "bad" ? "fault" : "warn"), el("span", {}, text)));
    }
    const levels = ladder?.levels ?? null;
    const stuck = new Set(ladder?.stuck ?? []);
    const shape = JSON.stringify([told.length, ladder?.fault, ladder?.warning, levels?.map((one) => [one.level, stuck.has(one.level)])]);
    if (this.shape !== shape) {
      this.shape = shape;
      this.levels = (levels ?? []).map((one) => ({ bar: stuck.has(one.level) ? null : bar(0, 1), number: el("td", { class: "number" }) }));
      if (levels === null) told.push(el("p", { class: "muted" }, "How many tasks wait on which level is not known here."));
      else if (!levels.length) told.push(el("p", { class: "muted" }, "No task waits in the ladder."));
      else told.push(this.rungsTable(levels, stuck));
      body.replaceChildren(...told);
    }
    const most = Math.max(1, ...(levels ?? []).map((one) => one.messages));
    (levels ?? []).forEach((one, index) => {
      const row = this.levels[index];
      say(row.number, count(one.messages));
      if (row.bar !== null) stretch(row.bar, one.messages, most);
    });
  }

  rungsTable(levels, stuck) {
    const rows = levels.map(({ level }, index) => {
      const { bar: plot, number } = this.levels[index];
      const name = el("th", { scope: "row" }, String(level), el("span", { class: "muted" }, ` · ${duration(2 ** level)}`));
      return el("tr", { class: stuck.has(level) ? "stuck" : null }, name, el("td", { class: "plot" }, plot ?? chip("fault", "bad", "stuck")), number);
    });
    const heads = el("thead", { class: "hidden-text" }, el("tr", {}, el("th", { scope: "col" }, "level"), el("td", {}), el("th", { scope: "col" }, "tasks")));
    return el("table", { class: "bars" }, el("caption", { class: "hidden-text" }, "Tasks on each level of the ladder, where they stay for so long"), heads, el("tbody", {}, rows));
  }

  renderOld(side) {
    const { body } = this.old;
    if (!side) return void body.replaceChildren(el("p", { class: "muted" }, "Who publishes and works on the old side is not known here."));
    const part = (title, rows, more) => [el("h3", {}, title), rows.length ? el("ul", { class: "who" }, rows) : el("p", { class: "muted" }, "nobody"), ...(more ? [el("p", { class: "muted" }, `and ${more} more`)] : [])];
    const who = (one) => el("li", {}, el("b", {}, one.name || one.host || "?"), el("span", { class: "muted" }, [one.user, one.host !== one.name ? one.host : "", (one.queues ?? []).join(", ")].filter(Boolean).join(" · ")));
    const { publishers = [], holders = [], more } = side;
    body.replaceChildren(...part("Publishers", publishers.map(who), more?.publishers), ...part("Holders of tasks", holders.map(who), more?.holders));
  }

  async check(again) {
    clearTimeout(this.timer);
    let wait = CHECK;
    try {
      if (again) this.again.disabled = true;
      const answer = await fetch(`/api/check${again ? "?again=1" : ""}`, { signal: AbortSignal.timeout(15_000), cache: "no-store" });
      if (answer.ok) {
        const told = await answer.json();
        if (told.running) wait = RUNNING;
        this.again.disabled = told.running;
        this.once("findings", told, () => this.renderFindings(told));
      }
    } catch {
      this.again.disabled = false;
    }
    this.timer = setTimeout(() => this.check(false), wait);
  }

  renderFindings(told) {
    const { body } = this.findings;
    say(this.checked, told.running ? "looking…" : told.age_s === null ? "" : `${duration(told.age_s)} ago`);
    mark(this.checked, "title", told.at ? `looked at ${clock(told.at)}` : null);
    const parts = [];
    if (told.fault) parts.push(el("p", { class: "told bad" }, icon("fault"), el("span", {}, told.fault)));
    if (told.at === null) parts.push(el("p", { class: "muted" }, "bridge check looks at both brokers…"));
    else if (!told.findings.length && !told.fault) parts.push(el("p", { class: "good told" }, icon("done"), el("span", {}, "check found nothing.")));
    for (const [severity, kind] of Object.entries(SEVERITIES)) {
      const found = told.findings.filter((finding) => finding.severity === severity);
      if (!found.length) continue;
      const rows = found.slice(0, FINDINGS).map((finding) => el("li", {}, el("b", {}, finding.subject), el("span", {}, ` ${finding.seen}`), el("div", { class: "muted" }, finding.todo), el("code", {}, finding.id)));
      if (found.length > FINDINGS) rows.push(el("li", { class: "muted" }, `and ${count(found.length - FINDINGS)} more: bridge check`));
      parts.push(el("details", { open: severity === "blocker", class: kind.tone }, el("summary", {}, icon(kind.icon), el("span", {}, `${count(found.length)} ${severity}${found.length === 1 ? "" : "s"}`)), el("ul", { class: "findings" }, rows)));
    }
    body.replaceChildren(...parts);
  }
}
