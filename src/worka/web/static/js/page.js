// What every module needs: finding, saying, asking the server.
export const $ = (selector, place = document) => place.querySelector(selector);
export const $$ = (selector, place = document) => [...place.querySelectorAll(selector)];
export const on = (type, handler, place = document) => place.addEventListener(type, handler);

/** Says something to a person who does not see the page. */
export const say = (text) => { $("#said").textContent = text; };

/** Single-key shortcuts can be switched off, for people whose voice or hand presses keys by accident (WCAG 2.1.4). */
export const keysOn = () => localStorage.getItem("worka_keys") !== "off";

/** Whether somebody is typing there: a key is then a letter, not a shortcut. */
export const typing = (node) => Boolean(node?.closest?.("input, textarea, select, dialog, [contenteditable]"));

/** A page of ours as a document. Throws with `status` when it is refused; a redirect means the reader is signed out. */
export async function load(address, signal) {
  const answer = await fetch(address, { headers: { Accept: "text/html" }, signal });
  if (!answer.ok) throw Object.assign(new Error(`status ${answer.status}`), { status: answer.status });
  if (answer.redirected && new URL(answer.url).pathname === "/sign-in") throw Object.assign(new Error("signed out"), { status: 401 });
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}
