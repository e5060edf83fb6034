// What the points under the cursor are, beside it.

import { clock } from "./times.js";

/**
 * A plugin of uPlot.
 * @param place - Where the plot is.
 * @param shown - The chart and all data.
 * @param write - Makes a text of a value.
 */
export function tooltip(place, shown, write) {
  const box = document.createElement("div");
  box.className = "tip";
  box.hidden = true;
  return {
    hooks: {
      init: (plot) => plot.over.append(box),
      // The cursor is shared by all charts; only the one that is pointed at has words.
      setCursor: (plot) => {
        const { idx, left } = plot.cursor;
        box.hidden = !place.matches(":hover") || idx == null || left < 0 || !fill(box, shown, idx, write);
        if (!box.hidden) put(box, plot, left);
      },
    },
  };
}

function fill(box, { chart, data }, index, write) {
  const rows = chart.series.filter(({ values }) => values[index]);
  const time = document.createElement("div");
  time.textContent = moment(data.at[index], data.span.width_s);
  const list = document.createElement("ul");
  // As they stand on each other: the highest first.
  list.append(...rows.map((each) => row(each, write(each.values[index]))).reverse());
  box.replaceChildren(time, list);
  return rows.length > 0;
}

function row({ name, color }, text) {
  const item = document.createElement("li");
  const swatch = document.createElement("span");
  const value = document.createElement("b");
  item.className = `color-${color}`;
  swatch.className = "swatch";
  value.textContent = text;
  item.append(swatch, name, value);
  return item;
}

function moment(at, width) {
  const date = new Date(at * 1000);
  const day = width >= 900 ? `${date.toLocaleDateString(undefined, { month: "short", day: "numeric" })}, ` : "";
  return day + clock(date);
}

/** On the side that has room. */
function put(box, plot, left) {
  const room = plot.over.clientWidth;
  const x = left > room / 2 ? left - box.offsetWidth - 12 : left + 12;
  box.style.left = `${Math.max(0, Math.min(x, room - box.offsetWidth))}px`;
}
