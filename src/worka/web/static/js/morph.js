// Puts the server's new page in place of the old one node by node, so that what the reader holds stays: focus, text
// selection, open details, typed text, and the place on the screen.
//
// Lists that are marked `data-list` hold rows with a `data-key`. A row that is new is not put in above or between what is
// being read: it is held back and counted, and comes in when the reader asks for it.
import { $$ } from "./page.js";

const KEEP = new Set(["open", "data-reader"]);
const keyOf = (node) => node.nodeType !== Node.ELEMENT_NODE ? ""
  : node.dataset.key || node.id || (node.nodeName === "SECTION" && node.getAttribute("aria-labelledby")) || "";
const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName;
const dirty = (field) => field.type !== "hidden" && field.value !== field.defaultValue;

/** Whether a person would lose something if this node went: typed text, or the field that they are in. */
const held = (node) => node.nodeType === Node.ELEMENT_NODE && ([node, ...$$("textarea, input", node)].some((field) => field.matches("textarea, input") && dirty(field))
  || (node.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")));

/** Morphs `old` into `next`. `all`: also what is held back. Returns what was held back: {fresh, gone, parts}, in numbers. */
export function morph(old, next, all = false) {
  const waiting = { fresh: 0, gone: 0, parts: 0 };
  children(old, next, all, waiting);
  return waiting;
}

/** A list that only ever grows at its head: it is left as it is, and what it lacks is counted. */
function missing(old, next) {
  const known = new Set($$("[data-change]", old).map((row) => row.dataset.change));
  return $$("[data-change]", next).filter((row) => !known.has(row.dataset.change)).length;
}

function children(old, next, all, waiting) {
  const byKey = new Map([...old.childNodes].filter(keyOf).map((child) => [keyOf(child), child]));
  const steady = !all && old.nodeType === Node.ELEMENT_NODE && old.hasAttribute("data-list") && byKey.size > 0;
  const kept = new Set();
  let place = old.firstChild;
  for (const fresh of [...next.childNodes]) {
    const key = keyOf(fresh);
    let match = key ? byKey.get(key) : place;
    if (!key) while (match && (keyOf(match) || kept.has(match) || !same(match, fresh))) match = match.nextSibling;
    if (match && same(match, fresh) && !kept.has(match)) {
      kept.add(match);
      if (match === place) place = place.nextSibling;
      else if (!steady) old.insertBefore(match, place);
      node(match, fresh, all, waiting);
    } else if (steady && key && (!outOfSight(old) || [...old.children].some((row) => keyOf(row) && !kept.has(row)))) {
      waiting.fresh += 1; // only an end of a list that is below the window may grow: nothing that is seen moves
    } else {
      const copy = document.importNode(fresh, true);
      kept.add(copy);
      old.insertBefore(copy, steady ? null : place);
    }
  }
  for (const left of [...old.childNodes]) {
    if (kept.has(left)) continue;
    if (!all && held(left)) waiting.parts += 1;
    else if (steady && keyOf(left)) { left.toggleAttribute("data-over", true); waiting.gone += 1; } // it keeps its place
    else left.remove();
  }
}

function node(old, fresh, all, waiting) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName === "TEMPLATE") { old.replaceWith(document.importNode(fresh, true)); return; }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !KEEP.has(name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) if (!KEEP.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (old.hasAttribute("data-frozen") && !all) { waiting.fresh += missing(old, fresh); return; }
  // A relative time ticks by itself; a field holds what the reader typed.
  if (!old.matches("time[data-relative], textarea, input, select")) children(old, fresh, all, waiting);
}

/** Runs `change` and then moves the page so that what the reader looks at stands where it stood. */
export function still(region, change) {
  const focused = region.contains(document.activeElement) ? document.activeElement : null;
  const seen = focused && inView(focused) ? focused : firstInView(region);
  const before = seen?.getBoundingClientRect().top;
  change();
  if (seen?.isConnected) {
    const moved = seen.getBoundingClientRect().top - before;
    if (Math.abs(moved) >= 1) window.scrollBy({ top: moved, behavior: "instant" });
  }
}

const outOfSight = (list) => list.getBoundingClientRect().bottom >= innerHeight;

const inView = (element) => {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
};

/** The smallest part of the region that begins in the window: what a reader would say they are looking at. */
function firstInView(region) {
  const parts = $$("[data-key], section, h2, li, tr, p", region);
  return parts.find((part) => part.getBoundingClientRect().top >= 0 && inView(part)) || null;
}
