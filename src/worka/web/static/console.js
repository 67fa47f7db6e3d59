/* The console's one script. Every page works without it. */
(() => {
  "use strict";
  const $ = (selector, place = document) => place.querySelector(selector);
  const $$ = (selector, place = document) => [...place.querySelectorAll(selector)];
  const on = (type, handler) => document.addEventListener(type, handler);
  const root = document.documentElement;
  const say = (text) => { $("#said").textContent = text; };
  const keysOn = () => localStorage.getItem("worka_keys") !== "off";

  const units = [[1, "s", 90], [60, "min", 90], [3600, "h", 48], [86400, "d", 1e9]];
  const tick = () => $$("time[data-relative]").forEach((node) => {
    const seconds = (Date.now() - Date.parse(node.dateTime)) / 1000, size = Math.abs(seconds);
    const [unit, word] = units.find(([unit, , limit]) => size < unit * limit);
    const length = `${Math.round(size / unit)} ${word}`;
    node.textContent = size < 5 ? "just now" : seconds > 0 ? `${length} ago` : `in ${length}`;
  });
  setInterval(tick, 10000);

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
    if (event.target.closest("[data-open-palette]")) openPalette();
    event.target.closest("[data-close]")?.closest("dialog").close();
    $$("details.menu[open]").forEach((menu) => { menu.open = menu.contains(event.target); });
  });

  // Quick search: an id pasted here leads to its page; words narrow the places.
  const palette = $("#palette");
  const openPalette = () => { if (palette && !$("dialog[open]")) { palette.showModal(); $("input", palette).select(); } };
  if (palette) {
    const input = $("input", palette), places = $$("[data-place]", palette), keys = $("[data-keys]", palette);
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
    keys.checked = keysOn();
    keys.addEventListener("change", () => localStorage.setItem("worka_keys", keys.checked ? "on" : "off"));
  }

  // Deciding asks once more, in words, before anything is sent. The keys a and r press the buttons.
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
    ask.showModal();
    yes.focus();
  });
  on("keydown", (event) => {
    const chord = event.metaKey || event.ctrlKey;
    if (chord && event.key.toLowerCase() === "k") { event.preventDefault(); return openPalette(); }
    if (chord || event.altKey || !keysOn() || event.target.closest("input, textarea, select, dialog")) return;
    if (event.key === "/") { event.preventDefault(); return openPalette(); }
    const button = /^[a-z]$/.test(event.key) && $(`[data-decide] [data-key="${event.key}"]`);
    if (button) { event.preventDefault(); button.click(); }
  });
  on("submit", (event) => {
    // After the browser has collected the form: a disabled button would not be sent.
    if (!event.defaultPrevented) setTimeout(() => $$("button", event.target).forEach((button) => { button.disabled = true; }));
  });
  addEventListener("pageshow", (event) => event.persisted && location.reload());

  // Live: an event only says that something happened; what is shown is the server's page, put in place without a jump.
  const live = $("[data-live]");
  if (!live) return;
  const mark = $("#live-state");
  const state = (name, text) => { mark.dataset.state = name; mark.lastElementChild.textContent = text; };
  const stale = (why) => state("stale", `${why}: as of ${new Date(seen).toLocaleTimeString()}`);
  const verdict = () => $("[data-verdict]", live)?.textContent.trim();
  const plain = (place) => place.innerHTML.replace(/>[^<]*<\/time>/g, "></time>").replace(/datetime="[^"]*"|title="[^"]*"/g, "");
  const name = (node) => node.dataset.key || $("summary", node).textContent;
  let shown = plain(live), said = verdict(), seen = Date.now(), wanted = false, busy = false;
  const refresh = async () => {
    const typing = live.contains(document.activeElement) && document.activeElement.matches("input, textarea");
    wanted = busy || document.hidden || typing || Boolean($("dialog[open]"));
    if (wanted) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) return location.reload();
      if (!answer.ok) throw new Error(answer.status);
      const next = $("[data-live]", new DOMParser().parseFromString(await answer.text(), "text/html"));
      seen = Date.now();
      if (plain(next) !== shown) {
        const open = new Set($$("details[open]", live).map(name)), at = live.contains(document.activeElement) && document.activeElement.getAttribute("href");
        const typed = $("textarea", live)?.value;
        shown = plain(next);
        live.replaceChildren(...next.childNodes);
        $$("details", live).forEach((node) => { node.open ||= open.has(name(node)); });
        if (typed && $("textarea", live)) $("textarea", live).value = typed;
        if (at) $(`a[href="${CSS.escape(at)}"]`, live)?.focus({ preventScroll: true });
        if (verdict() !== said) say((said = verdict()) || "Updated");
      }
    } catch { stale("Stale"); }
    busy = false;
    if (wanted) setTimeout(refresh, 700);
  };
  on("visibilitychange", refresh);
  on("focusout", () => wanted && setTimeout(refresh, 300));

  let cursor = "", timer = 0, wait = 1000;
  const soon = () => { clearTimeout(timer); timer = setTimeout(refresh, 250); };
  const listen = async () => {
    try {
      const stream = await fetch(live.dataset.events, { headers: cursor ? { "Last-Event-ID": cursor } : {} });
      if (!stream.ok) throw new Error(stream.status);
      state("live", "Live");
      soon();
      wait = 1000;
      const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = "", part; !(part = await reader.read()).done;) {
        const lines = (rest + part.value).split("\n");
        rest = lines.pop();
        for (const line of lines) {
          if (line.startsWith("id:")) cursor = line.slice(3).trim();
          if (line.startsWith("data:")) soon();
        }
      }
    } catch { /* said below */ }
    stale("Not live");
    setTimeout(listen, wait = Math.min(wait * 2, 30000));
  };
  listen();
  setInterval(() => mark.dataset.state === "stale" && refresh(), 15000);
})();
