/* The console's one script. Every page works without it; with it pages are live, copyable and quick by keyboard. */
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const root = document.documentElement;

  // Light and dark: the server reads the cookie, so the first paint of the next page is right.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-theme-form]")) return;
    event.preventDefault();
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `worka_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
    say(`${dark ? "Light" : "Dark"} colours`);
  });

  // What changed is said once, politely, in one place.
  const say = (text) => { const place = $("#said"); if (place && text) place.textContent = text; };

  // Relative times grow older in place; the absolute time is beside them and never moves.
  const units = [[1, "s", 90], [60, "min", 90], [3600, "h", 48], [86400, "d", 1e9]];
  const relative = (when) => {
    const seconds = (Date.now() - when) / 1000, size = Math.abs(seconds);
    if (size < 5) return "just now";
    const [unit, word] = units.find(([unit, , limit]) => size < unit * limit);
    return seconds > 0 ? `${Math.round(size / unit)} ${word} ago` : `in ${Math.round(size / unit)} ${word}`;
  };
  const tick = () => $$("time[data-relative]").forEach((node) => {
    const text = relative(Date.parse(node.dateTime));
    if (node.textContent !== text) node.textContent = text;
  });
  setInterval(tick, 10000);

  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      try { await navigator.clipboard.writeText(copy.dataset.copy); copy.classList.add("copied"); say("Copied"); }
      catch { say("The browser does not allow copying here"); }
      setTimeout(() => copy.classList.remove("copied"), 1500);
    }
    if (event.target.closest("[data-open-palette]")) { event.preventDefault(); openPalette(); }
    if (event.target.closest("[data-close]")) event.target.closest("dialog").close();
    $$("details.menu[open]").forEach((menu) => menu.contains(event.target) || (menu.open = false));
  });

  // Quick search: an id pasted here leads to its page; words narrow the places.
  const palette = $("#palette");
  const openPalette = () => { if (palette && !palette.open) { palette.showModal(); $("input", palette).select(); } };
  if (palette) {
    const input = $("input", palette), places = $$("[data-place]", palette);
    input.addEventListener("input", () => {
      const text = input.value.trim().toLowerCase();
      if (/^[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26}$/.test(text)) return input.form.requestSubmit();
      places.forEach((place) => { place.parentNode.hidden = !place.textContent.toLowerCase().includes(text); });
    });
    palette.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const stops = [input, ...places.filter((place) => !place.parentNode.hidden)];
      stops[(stops.indexOf(document.activeElement) + step + stops.length) % stops.length].focus();
    });
    const keys = $("[data-keys]", palette);
    keys.checked = localStorage.getItem("worka_keys") !== "off";
    keys.addEventListener("change", () => localStorage.setItem("worka_keys", keys.checked ? "on" : "off"));
  }

  // Deciding: the button asks once more, in words, before anything is sent. The keys a and r press the buttons.
  const decide = $("form[data-decide]"), confirm = $("#confirm");
  let sure = false;
  decide?.addEventListener("submit", (event) => {
    if (sure || !confirm) return;
    event.preventDefault();
    const button = event.submitter;
    $("[data-question]", confirm).textContent = button.dataset.question;
    const yes = $("[data-yes]", confirm);
    yes.textContent = button.dataset.yes;
    yes.className = button.className;
    yes.onclick = () => { sure = true; confirm.close(); decide.requestSubmit(button); };
    confirm.showModal();
    yes.focus();
  });
  document.addEventListener("keydown", (event) => {
    if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") { event.preventDefault(); return openPalette(); }
    const typing = event.target.closest("input, textarea, select, dialog, [contenteditable]");
    if (typing || event.metaKey || event.ctrlKey || event.altKey || localStorage.getItem("worka_keys") === "off") return;
    if (event.key === "/") { event.preventDefault(); return openPalette(); }
    const button = decide && $(`button[data-key="${event.key}"]`, decide);
    if (button) { event.preventDefault(); button.click(); }
  });
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method === "dialog") return;
    // After the browser has collected the form: a disabled button would not be sent.
    setTimeout(() => { $$("button", event.target).forEach((button) => { button.disabled = true; }); event.target.ariaBusy = "true"; });
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  // Live: events only say that something happened; what is shown is the server's page, put in place without a jump.
  const live = $("[data-live]");
  if (!live) return;
  const mark = $("#live-state");
  let last = "", seen = Date.now(), wanted = false, busy = false, wait = 1000;
  const state = (name, text) => { if (mark) { mark.dataset.state = name; mark.lastElementChild.textContent = text; } };
  const open = (place) => new Set($$("details[open]", place).map((node) => node.dataset.key || $("summary", node)?.textContent.trim()));
  const refresh = async () => {
    if (busy || document.hidden || $("dialog[open]") || live.contains(document.activeElement) && document.activeElement.matches("input, textarea")) { wanted = true; return; }
    busy = true; wanted = false; live.ariaBusy = "true";
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) return location.reload();
      if (!answer.ok) throw new Error(answer.status);
      const next = $("[data-live]", new DOMParser().parseFromString(await answer.text(), "text/html"));
      seen = Date.now();
      if (next && next.dataset.live !== live.dataset.live) {
        const kept = open(live), focus = document.activeElement?.getAttribute("href"), inside = live.contains(document.activeElement);
        live.replaceChildren(...next.childNodes);
        live.dataset.live = next.dataset.live;
        $$("details", live).forEach((node) => { if (kept.has(node.dataset.key || $("summary", node)?.textContent.trim())) node.open = true; });
        if (inside && focus) $(`a[href="${CSS.escape(focus)}"]`, live)?.focus({ preventScroll: true });
        const verdict = $("[data-verdict]", live)?.textContent.trim();
        if (verdict && verdict !== last) say(verdict);
        last = verdict;
      }
      tick();
    } catch { state("stale", `Stale: as of ${new Date(seen).toLocaleTimeString()}`); }
    busy = false; live.ariaBusy = "false";
    if (wanted) setTimeout(refresh, 700);
  };
  last = $("[data-verdict]", live)?.textContent.trim();
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  document.addEventListener("focusout", () => { if (wanted) setTimeout(refresh, 300); });

  let cursor = "", timer = 0;
  const soon = () => { clearTimeout(timer); timer = setTimeout(refresh, 250); };
  const listen = async () => {
    try {
      const headers = { Accept: "text/event-stream" };
      if (cursor) headers["Last-Event-ID"] = cursor;
      const stream = await fetch(live.dataset.events, { headers });
      if (!stream.ok) throw new Error(stream.status);
      state("live", "Live");
      wait = 1000;
      if (cursor) soon();
      const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = "";;) {
        const { value, done } = await reader.read();
        if (done) break;
        const lines = (rest + value).split(/\r?\n/);
        rest = lines.pop();
        for (const line of lines) {
          if (line.startsWith("id:")) cursor = line.slice(3).trim();
          if (line.startsWith("data:")) soon();
        }
      }
    } catch { /* said below */ }
    state("stale", `Not live: as of ${new Date(seen).toLocaleTimeString()}, trying again`);
    setTimeout(listen, wait);
    wait = Math.min(wait * 2, 30000);
  };
  addEventListener("load", () => setTimeout(listen, 100));
  setInterval(() => mark?.dataset.state === "stale" && refresh(), 15000);
})();
