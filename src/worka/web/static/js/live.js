// The page stays true while it is looked at. An event only says that something happened; what is shown is the server's page.
import { $, $$, load, on, say } from "./page.js";
import { morph, still } from "./morph.js";
import { age, tick } from "./times.js";

const QUIET = 40_000; // the stream says something every 15 s; longer silence means that nobody is there any more
const AWAY = 5_000; // a page that is not looked at gives its connection back: a browser has six for all pages of one console
const regions = $$("[data-live]");
const address = $("[data-events]")?.dataset.events;
const mark = $("#live-state"), news = $("#news"), stale = $("#stale");
let seen = Date.now(), next = null, busy = false, wanted = false, cursor = "", wait = 1000, timer = 0, trouble = "";

const verdict = () => $("[data-verdict]")?.textContent.trim().replace(/\d+ (s|min|h|d)\b/g, "");
let said = verdict();

function show() {
  const state = trouble ? "stale" : mark.dataset.state === "off" ? "off" : "live";
  const old = `as of ${age(Date.now() - seen)} ago`;
  mark.dataset.state = state;
  const words = state === "live" ? "Live" : state === "stale" ? `Stale, ${old}` : "Connecting";
  if (mark.lastElementChild.textContent !== words) mark.lastElementChild.textContent = words;
  const late = Boolean(trouble) && Date.now() - seen > 5000;
  if (late) $("[data-why]", stale).textContent = `${trouble} What you see is ${old}. `;
  if (stale.hidden === late) { stale.hidden = !late; if (late) say(`${trouble} What you see is ${old}.`); }
}

function count({ fresh, gone, parts }) {
  const words = [fresh && `${fresh} new`, gone && `${gone} gone`].filter(Boolean).join(", ") || (parts ? "Changed meanwhile" : "");
  news.hidden = !words;
  const changed = words && news.lastElementChild.textContent !== words;
  news.lastElementChild.textContent = words;
  return changed ? `${words}. Press n to show.` : "";
}

function put(page, all) {
  const waiting = { fresh: 0, gone: 0, parts: 0 };
  const main = regions.find((region) => region.closest("main")) || document.body;
  const held = document.activeElement;
  still(main, () => {
    for (const region of regions) {
      const fresh = page.getElementById(region.id);
      if (!fresh) continue;
      const found = morph(region, fresh, all);
      for (const key of Object.keys(waiting)) waiting[key] += found[key] || 0;
    }
  });
  if (held !== document.activeElement && !held.isConnected) $("[data-verdict]", main)?.focus({ preventScroll: true });
  document.title = page.title;
  tick(main);
  // In one sentence: a second one right after the first would be heard instead of it.
  const heard = [verdict() === said ? "" : $("[data-verdict]")?.textContent.trim(), count(waiting)].filter(Boolean).join(" ");
  said = verdict();
  if (heard) say(heard);
}

async function refresh() {
  wanted = busy || document.hidden || Boolean($("dialog[open]:not(#palette)"));
  if (wanted) return;
  busy = true;
  try {
    next = await load(location.href);
    seen = Date.now();
    if (trouble) { trouble = ""; stream?.abort(); }
    put(next, false);
  } catch (error) {
    if (error.status === 401) return location.reload();
    trouble = error.status ? "A part of Worka does not answer." : "The console does not answer.";
  } finally { busy = false; }
  show();
  if (wanted) setTimeout(refresh, 700);
}

/** Shows what was held back, and puts the reader at its beginning. */
export function catchUp() {
  if (news.hidden || !next) return;
  put(next, true);
  const first = $("[data-list] [data-key]") || $("[data-verdict]");
  first?.scrollIntoView({ block: "center" });
  ($("a.main-link, a", first || document.body) || first)?.focus({ preventScroll: true });
}

let stream = null;
const soon = () => { clearTimeout(timer); timer = setTimeout(refresh, 250); };

let away = false, leaving = 0, back = null;

function looked() {
  clearTimeout(leaving);
  if (document.hidden) { leaving = setTimeout(() => { away = true; stream?.abort(); }, AWAY); return; }
  away = false;
  back?.();
  if (wanted) refresh();
}

async function listen() {
  for (;;) {
    if (away) await new Promise((done) => { back = done; });
    const control = stream = new AbortController();
    let silence = setTimeout(() => control.abort(), QUIET);
    try {
      const answer = await fetch(address, { headers: cursor ? { "Last-Event-ID": cursor } : {}, signal: control.signal });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw Object.assign(new Error("refused"), { status: answer.status });
      mark.dataset.state = "live";
      soon();
      wait = 1000;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = "", part; !(part = await reader.read()).done;) {
        clearTimeout(silence);
        silence = setTimeout(() => control.abort(), QUIET);
        const lines = (rest + part.value).split("\n");
        rest = lines.pop();
        for (const line of lines) take(line);
      }
      trouble ||= "The live connection ended.";
    } catch (error) {
      if (!away) trouble ||= error.status ? "A part of Worka does not answer." : "The console does not answer.";
    }
    clearTimeout(silence);
    if (away) { mark.dataset.state = "off"; continue; }
    show();
    await new Promise((done) => setTimeout(done, wait = Math.min(wait * 2, 15000)));
    soon();
  }
}

function take(line) {
  if (line.startsWith("id:")) cursor = line.slice(3).trim();
  if (line.startsWith("data:")) soon();
  if (!line.startsWith(":") || line.startsWith(": from")) return;
  // The stream lives, but what it reads from may not: it then names the problem instead of a time.
  if (line.startsWith(": alive")) { if (trouble) soon(); else seen = Date.now(); }
  else { trouble = "A part of Worka does not answer."; soon(); }
  show();
}

if (address && mark) {
  on("visibilitychange", looked);
  on("click", (event) => {
    if (event.target.closest("#news")) catchUp();
    if (event.target.closest("[data-try]")) refresh();
  });
  document.addEventListener("close", () => wanted && setTimeout(refresh, 100), true);
  addEventListener("offline", () => { trouble = "The console does not answer."; stream?.abort(); show(); });
  addEventListener("online", () => { wait = 1000; refresh(); });
  setInterval(show, 1000);
  setInterval(() => trouble && refresh(), 5000);
  // Ages stand in sentences too, and what is silent sends no event: "Live" means that the words are true now.
  setInterval(() => trouble || refresh(), 30_000);
  // What is done within seconds and tells of itself by no event.
  setInterval(() => trouble || !$("[data-soon]") || refresh(), 2000);
  listen();
}
