// Relative times stay true while the page is looked at. The exact time is in the title and in the markup.
import { $$ } from "./page.js";

// As the server says it: the largest unit that has passed, rounded down.
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

export function age(milliseconds) {
  const seconds = Math.abs(milliseconds) / 1000;
  const [size, word] = UNITS.find(([unit]) => seconds >= unit) || [1, "s"];
  return `${Math.floor(seconds / size)} ${word}`;
}

export function tick(place = document) {
  for (const node of $$("time[data-relative]", place)) {
    const passed = Date.now() - Date.parse(node.dateTime);
    const text = Math.abs(passed) < 5000 ? "just now" : passed > 0 ? `${age(passed)} ago` : `in ${age(passed)}`;
    if (node.textContent !== text) node.textContent = text;
  }
}

setInterval(tick, 5000);
