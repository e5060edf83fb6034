// Numbers on the axes and at the cursor, in the words of `formats` on the server.

const BIG = [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]];

function count(value) {
  const [size, unit] = BIG.find(([least]) => value >= least) ?? [1, ""];
  const number = Number((value / size).toPrecision(3));
  return unit ? `${number}\u00a0${unit}` : String(number);
}

function money(value) {
  if (value >= 1000) return `$${count(value)}`;
  if (value === 0) return "$0";
  return value >= 0.1 ? `$${value.toFixed(2)}` : `$${Number(value.toPrecision(2))}`;
}

function seconds(value) {
  if (value === 0) return "0";
  if (value < 0.1) return `${Number((value * 1000).toPrecision(2))}\u00a0ms`;
  return `${Number(value.toPrecision(value < 10 ? 2 : 3))}\u00a0s`;
}

/** By the `unit` of a chart. */
export const WRITERS = { count, money, seconds };
