// The command palette: one field for ids, names, places and actions. What it finds comes from the same search page that
// works without it; the places where the reader was last are kept in this browser only.
import { $, $$, keysOn, load, on, say, typing } from "./page.js";

const palette = $("#palette");
const MOST = 6;
const store = palette && `worka_recent_${palette.dataset.workspace}`;
let asking = null, timer = 0;

function recent() {
  try { return JSON.parse(localStorage.getItem(store)) || []; } catch { return []; }
}

/** Remembers this page: its own heading, and where it is. Lists are in the menu anyway. */
function remember() {
  const title = $("h1")?.textContent.trim(), kind = $("main .kind-word")?.textContent.trim();
  if (!kind || !title) return;
  const here = { href: location.pathname, title, kind };
  const rest = recent().filter((place) => place.href !== here.href);
  try { localStorage.setItem(store, JSON.stringify([here, ...rest].slice(0, MOST + 1))); } catch { /* a full store is no reason to fail */ }
}

const options = () => $$("[role=option]:not([hidden])", palette);

function choose(option) {
  for (const other of $$("[role=option]", palette)) other.setAttribute("aria-selected", String(other === option));
  const field = $("#q", palette);
  if (option) { field.setAttribute("aria-activedescendant", option.id); option.scrollIntoView({ block: "nearest" }); }
  else field.removeAttribute("aria-activedescendant");
}

const chosen = () => $("[role=option][aria-selected=true]:not([hidden])", palette);

function go(option) {
  if (option.dataset.do === "theme") { palette.close(); $("[data-theme-form]").requestSubmit(); }
  else if (option.dataset.do === "sign-out") $("form[action='/sign-out']").requestSubmit();
  else location.assign(option.dataset.href);
}

function option({ href, title, kind }) {
  const row = $("template[data-option]", palette).content.firstElementChild.cloneNode(true);
  row.dataset.href = href;
  $("[data-title]", row).textContent = title;
  $("[data-kind]", row).textContent = kind;
  return row;
}

function showRecent() {
  const group = $("[data-recent]", palette);
  const places = recent().filter((place) => place.href !== location.pathname).slice(0, MOST);
  $("ul", group).replaceChildren(...places.map(option));
  group.hidden = places.length === 0;
}

/** Fixed places and actions hold the words; what the server found is shown below them. */
function narrow(text) {
  for (const row of $$("[data-fixed] [role=option], [data-recent] [role=option]", palette)) {
    row.hidden = !text.split(/\s+/).every((word) => row.textContent.toLowerCase().includes(word));
  }
  for (const group of $$("[role=group]", palette)) group.hidden = !$("[role=option]:not([hidden])", group);
  $$("[role=option]", palette).forEach((row, number) => { row.id = `option-${number}`; });
}

async function ask(text) {
  asking?.abort();
  const place = $("[data-found]", palette), field = $("#q", palette);
  if (!text) { place.replaceChildren(); narrow(""); choose(options()[0]); tell(); return; }
  asking = new AbortController();
  field.setAttribute("aria-busy", "true");
  palette.dataset.state = "loading";
  try {
    const page = await load(`${field.form.getAttribute("action")}?q=${encodeURIComponent(text)}`, asking.signal);
    const found = $$("[data-results] > li", page).map((row) => {
      const made = option({ href: $("a", row).getAttribute("href"), title: $("a", row).textContent.trim(), kind: row.dataset.kind });
      if (row.dataset.state) $("[data-kind]", made).textContent += ` · ${row.dataset.state}`;
      return made;
    });
    place.replaceChildren(...found);
    palette.dataset.state = found.length || options().length ? "" : "empty";
    $("[data-none]", palette).textContent = $("[data-nothing]", page)?.textContent.trim() || "Nothing found.";
  } catch (error) {
    if (error.name === "AbortError") return;
    place.replaceChildren();
    palette.dataset.state = "failed";
  }
  field.removeAttribute("aria-busy");
  narrow(text);
  choose(options()[0]);
  if (palette.dataset.state !== "failed") palette.dataset.state = options().length ? "" : "empty";
  tell();
}

function tell() {
  const number = options().length;
  const words = palette.dataset.state === "failed" ? "The search does not answer." : number === 1 ? "1 result" : `${number} results`;
  $("[data-said]", palette).textContent = words;
}

/** Which keys do something on this page, and no other. */
function showKeys() {
  const keys = $("#keys");
  if ($("dialog[open]")) return;
  for (const row of $$("[data-if]", keys)) row.hidden = !$(row.dataset.if);
  keys.showModal();
}

export function open() {
  if ($("dialog[open]")) return;
  const field = $("#q", palette);
  field.value = "";
  palette.dataset.state = "";
  showRecent();
  palette.showModal();
  ask("");
  field.focus();
}

if (palette) {
  remember();
  const field = $("#q", palette), keys = $("[data-keys]", palette);
  on("input", () => {
    clearTimeout(timer);
    const text = field.value.trim().toLowerCase();
    narrow(text);
    choose(options()[0]);
    // A whole id is a wish, not a search.
    if (/^([a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26}|[0-9a-f]{32})$/.test(text)) return field.form.requestSubmit();
    timer = setTimeout(() => ask(text), text ? 120 : 0);
  }, field);
  on("keydown", (event) => {
    const all = options(), at = all.indexOf(chosen());
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: event.ctrlKey ? 0 : NaN, End: event.ctrlKey ? all.length - 1 : NaN }[event.key];
    if (all.length && to >= -1) { event.preventDefault(); choose(all[(to + all.length) % all.length]); }
    if (event.key === "Enter" && chosen()) { event.preventDefault(); go(chosen()); }
  }, field);
  on("click", (event) => {
    const row = event.target.closest("[role=option]");
    if (row) go(row);
    else if (event.target === palette) palette.close();
  }, palette);
  on("mousemove", (event) => { const row = event.target.closest("[role=option]"); if (row && row !== chosen()) choose(row); }, palette);
  keys.checked = keysOn();
  on("change", () => localStorage.setItem("worka_keys", keys.checked ? "on" : "off"), keys);
  on("click", (event) => {
    const opener = event.target.closest("[data-open-palette]");
    if (opener && !event.metaKey && !event.ctrlKey) { event.preventDefault(); open(); }
  });
  on("keydown", (event) => {
    const chord = event.metaKey || event.ctrlKey;
    if (chord && !event.altKey && event.key.toLowerCase() === "k") { event.preventDefault(); open(); }
    else if (event.key === "?" && !chord && keysOn() && !typing(event.target)) { event.preventDefault(); showKeys(); }
    else if (event.key === "/" && !chord && keysOn() && !typing(event.target)) { event.preventDefault(); open(); }
  });
}
