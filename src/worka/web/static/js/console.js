// The console's scripts. Every page works without them.
import { $, $$, on, say } from "./page.js";
import "./times.js";
import "./palette.js";
import "./live.js";
import "./decide.js";

const root = document.documentElement;

// Light and dark: the server reads the cookie, so the next page's first paint is right.
on("submit", (event) => {
  if (!event.target.matches("[data-theme-form]")) return;
  event.preventDefault();
  const now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  document.cookie = `worka_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
  say(`Colours: ${root.dataset.theme}`);
});

on("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    try { await navigator.clipboard.writeText(copy.dataset.copy); copy.classList.add("copied"); say("Copied"); }
    catch { say("The browser does not allow copying here"); }
    setTimeout(() => copy.classList.remove("copied"), 1500);
  }
  event.target.closest("[data-close]")?.closest("dialog").close();
  $$("details.menu[open]").forEach((menu) => { menu.open = menu.contains(event.target); });
  const link = event.target.closest("a[href]");
  if (link && link.origin === location.origin && !link.hash && !event.defaultPrevented && !event.metaKey && !event.ctrlKey && !event.shiftKey) away();
});
on("submit", (event) => !event.defaultPrevented && away());
on("keydown", (event) => {
  if (event.key !== "Escape") return;
  busy(false); // Escape is also how a browser stops loading
  $$("details.menu[open]").forEach((menu) => { menu.open = false; $("summary", menu).focus(); });
});

// What answers a form is not made once more by a reload, or by going back to it: that asks for the page again (where the
// form's address is none, for the page that it stood on), instead of sending the form again.
const once = $("[data-once]");
if (once) history.replaceState(null, "", once.dataset.once || location.href);

// A page that takes its time says so; a quick one does not flicker.
let leaving = 0;
function away() {
  clearTimeout(leaving);
  leaving = setTimeout(() => { busy(true); say("Loading"); }, 200);
}
function busy(yes) {
  clearTimeout(leaving);
  root.toggleAttribute("data-loading", yes);
  $("#main")?.setAttribute("aria-busy", String(yes));
  $("#loading")?.toggleAttribute("hidden", !yes);
}
addEventListener("pageshow", (event) => {
  busy(false);
  if (event.persisted) location.reload();
});
