// Relative times stay true while the page is looked at. The exact time is in the title and in the markup.
import { $$ } from "./page.js";

const UNITS = [[1, "s", 90], [60, "min", 90], [3600, "h", 48], [86400, "d", Infinity]];

export function age(milliseconds) {
  const seconds = Math.abs(milliseconds) / 1000;
  const [size, word] = UNITS.find(([unit, , limit]) => seconds < unit * limit);
  return `${Math.round(seconds / size)} ${word}`;
}

export function tick(place = document) {
  for (const node of $$("time[data-relative]", place)) {
    const passed = Date.now() - Date.parse(node.dateTime);
    const text = Math.abs(passed) < 5000 ? "just now" : passed > 0 ? `${age(passed)} ago` : `in ${age(passed)}`;
    if (node.textContent !== text) node.textContent = text;
  }
}

setInterval(tick, 5000);
