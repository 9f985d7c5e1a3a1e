/**
 * Elements without markup: text stays text, so that no name from the API can become a script.
 * Nothing in these pages assigns `innerHTML`; a test holds them to it.
 */

const SVG = "http://www.w3.org/2000/svg";
const AS_PROPERTY = new Set(["value", "checked", "disabled", "hidden", "selected", "multiple", "open"]);

/**
 * @typedef {Node | string | number | null | undefined | false | Child[]} Child
 */

/**
 * An HTML element.
 * @param {string} tag
 * @param {Record<string, any>} [props] attributes; `onclick` and the like take functions
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) set(element, name, value);
  append(element, children);
  return element;
}

/**
 * An SVG element.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...Child} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

/**
 * Replace what an element holds.
 * @template {Element} E
 * @param {E} element
 * @param {...Child} children
 * @returns {E}
 */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** Say something to who cannot see the page change. @param {string} text */
export function announce(text) {
  const announcer = document.getElementById("announcer");
  if (announcer) announcer.textContent = text;
}

let lastId = 0;
/** An id that no other element has. @param {string} [kind] */
export function newId(kind = "e") {
  lastId += 1;
  return `${kind}-${lastId}`;
}

function set(element, name, value) {
  if (value === null || value === undefined) return;
  if (name.startsWith("on") && typeof value === "function") {
    element.addEventListener(name.slice(2), value);
  } else if (AS_PROPERTY.has(name)) {
    element[name] = value;
  } else if (typeof value === "boolean") {
    element.toggleAttribute(name, value);
  } else {
    element.setAttribute(name, String(value));
  }
}

function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child instanceof Node) element.append(child);
    else if (child !== null && child !== undefined && child !== false) element.append(String(child));
  }
}
