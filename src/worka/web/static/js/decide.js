// Deciding asks once more, in words, before anything is sent. The keys a and r press the buttons.
import { $, $$, keysOn, on, typing } from "./page.js";
import { catchUp } from "./live.js";

let sure = false;

on("submit", (event) => {
  const form = event.target, button = event.submitter, ask = $("#confirm");
  if (!form.matches("[data-decide]") || sure || !ask) return;
  event.preventDefault();
  const yes = $("[data-yes]", ask);
  $("[data-question]", ask).textContent = button.dataset.question;
  yes.textContent = button.dataset.yes;
  yes.className = button.className;
  yes.onclick = () => { sure = true; ask.close(); form.requestSubmit(button); };
  const comment = $("textarea[name=comment], textarea[name=reason]", form)?.value.trim() || "", shown = $("[data-comment]", ask);
  shown.hidden = !comment;
  $("q", shown).textContent = comment;
  ask.showModal();
  // A second key must not decide by itself: the way out has the focus, and deciding takes a choice.
  $("[data-close]", ask).focus();
});

on("submit", (event) => {
  // After the browser has collected the form: a disabled button would not be sent.
  if (!event.defaultPrevented) setTimeout(() => $$("button", event.target).forEach((button) => { button.disabled = true; }));
});

on("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || !keysOn() || typing(event.target)) return;
  if (event.key === "n") catchUp();
  const button = /^[a-z]$/.test(event.key) && $(`[data-decide] [data-press="${event.key}"]`);
  if (button) { event.preventDefault(); button.click(); }
});
