// Small ways to build and to patch elements. Text only ever goes in as text: what a queue is called is never markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const el = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);

export const draw = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, tag), attributes, children);

// Bring the children of an SVG element to what these describe, [tag, attributes, text or more of them]: what is there is
// patched, so that nothing flickers and little is laid out anew.
export function patch(parent, wanted) {
  wanted.forEach(([tag, attributes, inside], place) => {
    let node = parent.childNodes[place];
    if (node === undefined || node.nodeName !== tag) {
      const made = document.createElementNS(SVG, tag);
      if (node === undefined) parent.append(made);
      else node.replaceWith(made);
      node = made;
      node.known = {};
    }
    for (const name of Object.keys(node.known)) if (!(name in attributes)) node.removeAttribute(name);
    for (const name of Object.keys(attributes)) if (node.known[name] !== attributes[name]) node.setAttribute(name, attributes[name]);
    node.known = attributes;
    if (Array.isArray(inside)) patch(node, inside);
    else if (inside !== undefined) say(node, inside);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

export const icon = (name, more = "") =>
  draw("svg", { class: `icon ${more}`, "aria-hidden": "true" }, draw("use", { href: `#i-${name}` }));

export const byId = (id) => document.getElementById(id);

//: Set text where it is another one: nothing is laid out anew for nothing.
export function say(node, text) {
  const only = node.firstChild;
  if (only !== null && only === node.lastChild && only.nodeType === Node.TEXT_NODE) {
    if (only.nodeValue !== text) only.nodeValue = text;
  } else node.textContent = text;
}

export function mark(node, name, value) {
  if (value === null) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

//: A symbol and its word: colour is never the only sign.
export function chip(name, tone, word) {
  return el("span", { class: `chip ${tone}` }, icon(name), el("span", {}, word));
}

//: Names and values, as a list that screen readers read in pairs.
export const pairs = (rows) =>
  rows.map(([name, value, title]) => el("div", { title }, el("dt", {}, name), el("dd", {}, value)));

// A bar as long as its share of the largest.
export const bar = (value, most) =>
  draw(
    "svg",
    { class: "bar-plot", "aria-hidden": "true", viewBox: "0 0 100 10", preserveAspectRatio: "none" },
    draw("rect", { width: length(value, most), height: 10 }),
  );

export const stretch = (node, value, most) => mark(node.firstChild, "width", String(length(value, most)));

const length = (value, most) => (value ? Math.max(1, (100 * value) / most) : 0);
