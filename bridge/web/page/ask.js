// Asking for a verb: what it does and to which queues, what the gate says, a reason, and the answer in words.

import { byId, el, icon, say, show } from "./dom.js";
import { count, plural } from "./format.js";
import { gateRows } from "./panel.js";
import { OUTCOMES, VERBS } from "./words.js";

//: The token is kept for this tab only, and never stands in an address.
const TOKEN = "bridge.token";
//: Names that are listed before "and so many more", and answers likewise.
const NAMES = 12;
const ANSWERS = 100;
//: Milliseconds that a verb may take: gates of many queues are asked.
const PATIENCE = 120_000;

export const token = () => sessionStorage.getItem(TOKEN) ?? "";

function keep(value) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
  document.dispatchEvent(new Event("token"));
}

export class Ask {
  constructor(model) {
    this.model = model;
    this.dialog = byId("ask");
    this.dialog.addEventListener("close", () => this.dialog.replaceChildren());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
  }

  // names: the queues; null is all in scope.
  open(verb, names) {
    const what = VERBS[verb];
    const all = names === null;
    const listed = all ? [...this.model.queues.keys()] : names;
    const many = listed.length !== 1 || all;
    const title = el("h2", { id: "ask-title" }, many ? `${what.title}: ${all ? "all " : ""}${plural(listed.length, "queue")}` : `${what.title}: ${listed[0]}`);
    const parts = [el("p", {}, what.does)];
    if (many) parts.push(this.names(listed));
    if (what.gated) parts.push(...this.gates(listed, many));
    const fields = {};
    if (what.share) parts.push(this.share(fields));
    if (what.rate) parts.push(field("At most", (fields.rate = el("input", { name: "rate", placeholder: "500/s", autocomplete: "off" })), "such as 500/s or 300/m; empty takes the limit away"));
    parts.push(field("Reason", (fields.reason = el("input", { name: "reason", maxlength: 500, autocomplete: "off", placeholder: "for the journal" }))));
    if (what.gated) parts.push(this.later(fields, all));
    if (many) {
      const word = String(listed.length);
      fields.typed = el("input", { name: "typed", autocomplete: "off", inputmode: "numeric", required: true, "data-word": word });
      parts.push(field(`Type ${word} to confirm`, fields.typed, "the number of queues that this is for"));
    } else if (what.grave) {
      fields.typed = el("input", { name: "typed", autocomplete: "off", required: true, "data-word": listed[0] });
      parts.push(field(`Type ${listed[0]} to confirm`, fields.typed, "the name of the queue"));
    }
    const answer = el("div", { class: "answer", tabindex: "-1" });
    const keyed = this.keyed();
    const go = el("button", { type: "submit", class: what.grave ? "danger" : "primary" }, what.label);
    const dry = el("button", { type: "button", onclick: () => this.send(verb, names, fields, answer, keyed, true) }, "Dry run");
    const form = el("form", {}, title, ...parts, keyed.node, answer, el("div", { class: "actions" }, el("button", { type: "button", class: "quiet", onclick: () => this.dialog.close() }, "Close"), dry, go));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send(verb, names, fields, answer, keyed, false);
    });
    const confirmed = () => {
      go.disabled = fields.typed !== undefined && fields.typed.value.trim() !== fields.typed.dataset.word;
    };
    form.addEventListener("input", confirmed);
    confirmed();
    this.busy = [go, dry];
    this.confirmed = confirmed;
    this.dialog.replaceChildren(form);
    this.dialog.showModal();
    (fields.rate ?? fields.reason).focus();
  }

  names(listed) {
    const shown = listed.slice(0, NAMES);
    const more = listed.length - shown.length;
    return el("p", { class: "names" }, shown.map((name, index) => [index ? " " : "", el("code", {}, name)]), more > 0 ? ` and ${count(more)} more` : "");
  }

  gates(listed, many) {
    const unknown = [el("p", { class: "muted" }, "The gate is asked when the verb is carried out; a dry run asks it now.")];
    if (!many) {
      const { open } = this.model;
      const seen = open?.name === listed[0] && open.gate?.length ? [el("h3", {}, "Gate"), gateRows(open.gate)] : unknown;
      const box = el("div", {}, seen);
      this.lookAtGate(listed[0], box);
      return [box];
    }
    const known = listed.map((name) => this.model.queues.get(name)).filter((queue) => queue && queue.shut !== null);
    if (!known.length) return unknown;
    const shut = known.filter((queue) => queue.shut);
    const first = shut.slice(0, 5).map((queue) => ({ check: queue.name, ok: false, text: `${queue.name}: ${queue.shut}`, hint: "" }));
    const open = { check: "open", ok: true, text: `open for ${count(known.length - shut.length)} of ${plural(listed.length, "queue")}`, hint: "" };
    const rest = shut.length > first.length ? [el("p", { class: "muted" }, `and shut for ${count(shut.length - first.length)} more`)] : [];
    return [el("h3", {}, "Gate"), gateRows([open, ...first]), ...rest];
  }

  // What the status knows of the gate may be seconds old: look now.
  async lookAtGate(name, box) {
    try {
      const answer = await fetch(`/api/gate?queue=${encodeURIComponent(name)}`, { signal: AbortSignal.timeout(15_000), cache: "no-store" });
      if (!answer.ok) return;
      const told = await answer.json();
      if (told.checks.length && told.verb !== "rollback --reverse") box.replaceChildren(el("h3", {}, "Gate"), gateRows(told.checks));
    } catch {
      // What the status knows stays.
    }
  }

  share(fields) {
    fields.share = el("input", { name: "share", autocomplete: "off", placeholder: "as configured" });
    const inline = this.model.top.layout === "inline";
    return field("How much", fields.share, inline ? "20/s, 10% or the first 100; empty: as configured" : "20/s, or the first 100; empty: as configured");
  }

  later(fields, all) {
    fields.at = el("input", { name: "at", autocomplete: "off", placeholder: "23:30" });
    fields.backlog = el("input", { name: "backlog", autocomplete: "off", inputmode: "numeric", placeholder: "1000" });
    fields.force = all ? undefined : el("input", { type: "checkbox", name: "force" });
    return el(
      "details",
      {},
      el("summary", {}, all ? "Later" : "Later, or without workers"),
      field("Not before", fields.at, "HH:MM by the clock of the daemon's host, or ISO 8601"),
      field("Not before the backlog is at most", fields.backlog, "messages that are ready in the old queue"),
      all ? null : el("label", { class: "check" }, fields.force, el("span", {}, "Force: go without workers on the target")),
    );
  }

  keyed() {
    const input = el("input", { type: "password", name: "token", autocomplete: "off", "aria-describedby": "token-why" });
    const why = el("p", { class: "told bad", id: "token-why" });
    const node = el("div", { class: "keyed", hidden: true }, why, field("Token", input, "admin.token of the daemon's configuration; kept until this tab is closed"));
    return { node, input, why };
  }

  body(verb, names, fields, dry) {
    const what = VERBS[verb];
    const body = { ...(names === null ? { all: true } : { queues: names }), ...what.body };
    const value = (name) => fields[name]?.value.trim() ?? "";
    if (value("reason")) body.reason = value("reason");
    if (what.rate) body.rate = value("rate") || null;
    if (value("share")) body.canary = shareOf(value("share"));
    if (value("at")) body.at = value("at");
    if (value("backlog")) body.when_backlog = Number.isInteger(Number(value("backlog"))) ? Number(value("backlog")) : value("backlog");
    if (fields.force?.checked) body.force = true;
    if (dry) body.dry_run = true;
    return body;
  }

  async send(verb, names, fields, box, keyed, dry) {
    if (!keyed.node.hidden && keyed.input.value) keep(keyed.input.value.trim());
    for (const button of this.busy) button.disabled = true;
    box.replaceChildren(el("p", { class: "muted" }, "asking…"));
    let parts;
    try {
      const bearer = token() ? { Authorization: `Bearer ${token()}` } : {};
      const answer = await fetch(`/api/${VERBS[verb].path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", ...bearer },
        body: JSON.stringify(this.body(verb, names, fields, dry)),
        signal: AbortSignal.timeout(PATIENCE),
      });
      const told = await answer.json();
      const denied = answer.status === 401 || answer.status === 403;
      show(keyed.node, denied);
      if (denied) {
        say(keyed.why, `${told.error}: ${told.hint}`);
        keyed.input.focus();
        parts = [];
      } else parts = told.answers ? answered(told.answers, dry) : [fault(told.error, told.hint)];
    } catch {
      parts = [fault("the daemon does not answer", "whether it was carried out is in the changes, when it answers again")];
    }
    for (const button of this.busy) button.disabled = false;
    this.confirmed();
    box.replaceChildren(...parts);
    if (parts.length) box.focus();
  }

  // The token alone, from the head of the page.
  openToken() {
    const keyed = this.keyed();
    keyed.input.value = token();
    const form = el(
      "form",
      {},
      el("h2", { id: "ask-title" }, "Token"),
      el("p", {}, "Everybody who reaches this page may look. To change things over TCP the daemon wants the token of its configuration."),
      field("Token", keyed.input, "kept in this tab only, until it is closed"),
      el("div", { class: "actions" }, el("button", { type: "button", class: "quiet", onclick: () => this.dialog.close() }, "Close"), el("button", { type: "button", onclick: () => (keep(""), this.dialog.close()) }, "Forget"), el("button", { type: "submit", class: "primary" }, "Keep")),
    );
    keyed.input.removeAttribute("aria-describedby");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      keep(keyed.input.value.trim());
      this.dialog.close();
    });
    this.dialog.replaceChildren(form);
    this.dialog.showModal();
    keyed.input.focus();
  }
}

let fields = 0;

function field(label, input, note = "") {
  fields += 1;
  input.id = `field-${fields}`;
  if (note) input.setAttribute("aria-describedby", `note-${fields}`);
  return el("div", { class: "field" }, el("label", { for: input.id }, label), input, note ? el("span", { class: "muted", id: `note-${fields}` }, note) : null);
}

function shareOf(text) {
  if (/^(first\s+)?\d+$/.test(text)) return { first: Number(text.replace(/\D/g, "")) };
  return text.includes("%") ? { percent: text } : { rate: text };
}

const fault = (text, hint) => el("p", { class: "told bad" }, icon("fault"), el("span", {}, el("b", {}, text), hint ? el("span", { class: "hint" }, hint) : null));

function answered(answers, dry) {
  const sorted = [...answers].sort((one, other) => (other.outcome === "refused") - (one.outcome === "refused"));
  const tally = new Map();
  for (const one of answers) tally.set(one.outcome, (tally.get(one.outcome) ?? 0) + 1);
  const words = [...tally].map(([outcome, number]) => (answers.length === 1 ? OUTCOMES[outcome].word : `${count(number)} ${OUTCOMES[outcome].word}`)).join(", ");
  const rows = sorted.slice(0, ANSWERS).map((one) => {
    const outcome = OUTCOMES[one.outcome] ?? OUTCOMES.unchanged;
    const about = `queue "${one.queue}": `;
    const text = one.text.startsWith(about) ? one.text.slice(about.length) : one.text;
    return el("li", { class: outcome.tone }, icon(outcome.icon), el("span", {}, el("b", {}, one.queue === "*" ? "all queues together" : one.queue), ` ${outcome.word}: ${text}`, one.hint ? el("span", { class: "hint" }, one.hint) : null));
  });
  if (answers.length > ANSWERS) rows.push(el("li", { class: "muted" }, `and ${count(answers.length - ANSWERS)} more`));
  return [el("h3", {}, dry ? `Dry run, nothing was changed: ${words}` : `Answer: ${words}`), el("ul", { class: "checks" }, rows)];
}
