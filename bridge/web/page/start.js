// Brings the parts together: what comes from the daemon goes to the model, and from there to what is shown.

import { Ask, token } from "./ask.js";
import { Aside } from "./aside.js";
import { byId, icon } from "./dom.js";
import { Head } from "./head.js";
import { List } from "./list.js";
import { Live } from "./live.js";
import { Model } from "./model.js";
import { Panel } from "./panel.js";

//: Updates whose cost is remembered.
const REMEMBERED = 600;

const model = new Model();
const ask = new Ask(model);
const head = new Head(model);
const list = new List(model, (name) => choose(name));
const panel = new Panel(model, (verb, names) => ask.open(verb, names), () => choose(null));
const aside = new Aside(model);

//: What tests and the curious read: milliseconds that each update took, and what is known.
const bridgePage = { updates: [], model, selected: null };
window.bridgePage = bridgePage;

function measured(name, act) {
  const start = performance.now();
  act();
  const end = performance.now();
  if (name === "change") {
    bridgePage.updates.push(end - start);
    if (bridgePage.updates.length > REMEMBERED) bridgePage.updates.shift();
  }
  performance.clearMeasures("bridge-update");
  performance.measure("bridge-update", { start, end });
}

function select(name) {
  bridgePage.selected = name;
  document.body.dataset.view = name === null ? "all" : "queue";
  if (model.open?.name !== name) model.open = null;
  live.open(name);
  list.select(name);
  panel.open(name);
  aside.open(name);
}

function choose(name) {
  if (name === bridgePage.selected) return;
  history.replaceState(null, "", name === null ? location.pathname : `#queue=${encodeURIComponent(name)}`);
  select(name);
  // Where the list gives way to the queue, the eye goes there.
  if (name !== null && getComputedStyle(byId("queues")).display === "none") byId("panel-title").focus();
}

function named() {
  const found = /^#queue=(.*)$/.exec(location.hash);
  const name = found ? decodeURIComponent(found[1]) : null;
  return name !== null && model.queues.has(name) ? name : null;
}

const live = new Live({
  status: (text) => {
    measured("status", () => {
      const before = model.top?.since;
      model.replace(JSON.parse(text));
      model.arrange(true);
      head.update();
      list.renderStates();
      list.render(true);
      const name = named();
      if (before !== model.top.since || name !== bridgePage.selected) select(name);
      else panel.update();
      aside.update();
    });
    aside.check(false);
  },
  change: (text) => {
    if (model.top === null) return;
    measured("change", () => {
      model.apply(JSON.parse(text));
      const anew = model.arrange();
      head.update();
      list.renderStates();
      list.render(anew);
      panel.update();
      aside.update();
    });
  },
  queue: (text) => {
    const part = JSON.parse(text);
    if (model.open?.name !== part.name) model.open = part;
    else Object.assign(model.open, part);
    if (bridgePage.selected === part.name) panel.update();
  },
  health: (health) => head.health(health),
});

list.onfilter = () => {
  if (bridgePage.selected === null) panel.update();
};

window.addEventListener("hashchange", () => {
  const name = named();
  if (name !== bridgePage.selected) select(name);
});

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || byId("ask").open) return;
  const typing = event.target.closest("input, textarea, select") !== null;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    if (bridgePage.selected !== null && getComputedStyle(byId("queues")).display === "none") choose(null);
    byId("filter").focus();
    byId("filter").select();
  } else if (event.key === "Escape") {
    if (typing && event.target.value) {
      event.target.value = "";
      list.filter("");
    } else choose(null);
  }
});

// -- the theme: the system's, light, dark

const THEMES = ["system", "light", "dark"];

function theme() {
  const kept = localStorage.getItem("bridge.theme");
  return THEMES.includes(kept) ? kept : "system";
}

function paintTheme() {
  const now = theme();
  if (now === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = now;
  byId("theme").replaceChildren(icon("theme"), document.createTextNode(now === "system" ? "Auto" : now === "light" ? "Light" : "Dark"));
  byId("theme").setAttribute("aria-label", `Theme: ${now}`);
}

byId("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
  if (next === "system") localStorage.removeItem("bridge.theme");
  else localStorage.setItem("bridge.theme", next);
  paintTheme();
});

function paintToken() {
  byId("token").replaceChildren(icon("key"), document.createTextNode(token() ? "Token set" : "Token"));
}

byId("token").addEventListener("click", () => ask.openToken());
document.addEventListener("token", paintToken);

paintTheme();
paintToken();
live.start();
