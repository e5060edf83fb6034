// Draws the charts with uPlot, in the colors of the style sheet.

/* global uPlot */

import { tooltip } from "./tooltip.js";
import { openings } from "./openings.js";
import { WRITERS } from "./numbers.js";

const COUNTS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7];
const DAY_S = 86400;
const DENSE_PX = 7;
const HOURS = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAYS = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const plots = new Map();

/** Draw all charts, or bring those that are drawn up to date. */
export function draw() {
  if (typeof uPlot === "undefined") return;
  const data = JSON.parse(document.getElementById("chart-data").textContent);
  for (const place of document.querySelectorAll("[data-chart]")) show(place, data);
}

/** Draw all anew, for another theme. */
export function redraw() {
  for (const place of [...plots.keys()]) drop(place);
  draw();
}

function show(place, data) {
  const chart = data.charts[place.dataset.chart];
  // Hidden by the page, or with nothing to draw: no size to draw in.
  if (chart.series.length === 0 || place.closest("[hidden]")) return drop(place);
  const same = JSON.stringify([chart.series.map((each) => [each.name, each.color]), data.span.width_s]);
  const known = plots.get(place);
  if (known?.same === same) {
    Object.assign(known.shown, { chart, data });
    known.plot.setData(points(chart, data));
    return;
  }
  drop(place);
  plots.set(place, { same, ...make(place, { chart, data }) });
}

function drop(place) {
  const known = plots.get(place);
  if (!known) return;
  known.observer.disconnect();
  known.plot.destroy();
  plots.delete(place);
}

/**
 * @param shown - The chart and all data; what is in it is exchanged when there is news.
 */
function make(place, shown) {
  // First, so that the place is there to be measured.
  const holder = place.appendChild(document.createElement("div"));
  const size = () => ({ width: place.clientWidth, height: place.clientHeight });
  const plot = new uPlot({ ...options(place, shown), ...size() }, points(shown.chart, shown.data), holder);
  const observer = new ResizeObserver(() => {
    if (place.clientWidth && place.clientWidth !== plot.width) plot.setSize(size());
  });
  observer.observe(place);
  const destroy = plot.destroy;
  plot.destroy = () => {
    destroy();
    holder.remove();
  };
  return { plot, observer, shown };
}

/** Sums stand on each other as bars: the whole is drawn first, its lower parts over it. */
function points({ series, summed }, { at, span }) {
  if (!summed) return [at.map((each) => each + span.width_s / 2), ...series.map((each) => each.values)];
  const heights = at.map(() => 0);
  const stacked = series.map(({ values }) =>
    values.map((value, index) => (heights[index] += value ?? 0) || null));
  return [at, ...stacked.reverse()];
}

function options(place, shown) {
  const { chart, data } = shown;
  const write = WRITERS[chart.unit];
  const axis = { stroke: color("quiet"), font: "12px system-ui, sans-serif", ticks: { show: false } };
  const isDense = place.clientWidth / data.at.length < DENSE_PX;
  const series = chart.series.map((each, index) => chart.summed ? bars(each, isDense) : line(each, index));
  if (chart.summed) series.reverse();
  const shaded = chart === data.charts.calls;
  const room = shaded ? 1.25 : 1.1; // above the bars, for names
  return {
    legend: { show: false },
    padding: [8, 18, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: "llm" }, points: { show: !chart.summed, size: 7 } },
    scales: {
      x: { time: true, range: () => ends(shown.data) },
      y: { range: (_, low, high) => [0, high > 0 ? high * room : 1] },
    },
    axes: [
      { ...axis, size: 28, grid: { show: false }, space: 64, values: (_, splits, __, ___, step) => splits.map((each) => (step >= DAY_S ? DAYS : HOURS).format(each * 1000)) },
      { ...axis, size: 56, space: 32, grid: { stroke: color("line"), width: 1 }, incrs: chart.unit === "count" ? COUNTS : undefined, values: (_, splits) => splits.map(write) },
    ],
    series: [{}, ...series],
    plugins: [
      tooltip(place, shown, write),
      ...(shaded ? [openings(shown, color)] : []),
    ],
  };
}

/** The last point of time has a width, too, of which a part is still to come. */
function ends({ at, span }) {
  return [span.since, Math.max(span.until, at.at(-1) + span.width_s)];
}

function bars(each, isDense) {
  const fill = color(`series-${each.color}`);
  const paths = uPlot.paths.bars({ align: 1, size: [0.85, 40] });
  // A seam tells neighbors apart where their colors do not; of thin bars it leaves nothing.
  const seam = isDense ? {} : { stroke: color("paper"), width: 1 };
  return { label: each.name, fill, paths, points: { show: false }, ...seam };
}

function line(each, index) {
  const stroke = color(`series-${each.color}`);
  return { label: each.name, stroke, width: 2, dash: index ? [6, 4] : [], points: { show: true, size: 5, fill: stroke, filter: lonely } };
}

/** Points between two gaps, which no line shows. */
function lonely(plot, index) {
  const values = plot.data[index];
  const has = (at) => values[at] != null;
  return [...values.keys()].filter((at) => has(at) && !has(at - 1) && !has(at + 1));
}
