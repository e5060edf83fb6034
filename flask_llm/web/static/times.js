// Times that go on by themselves, and in the reader's own time zone.

const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const CLOCK = new Intl.DateTimeFormat(undefined, TIME);
const DATE = { month: "short", day: "numeric" };
const DAY = new Intl.DateTimeFormat(undefined, DATE);
const MOMENT = new Intl.DateTimeFormat(undefined, { ...TIME, ...DATE });
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** Write a time of day: "09:42:17". */
export function clock(date) {
  return CLOCK.format(date);
}

/** Write a time that is still to come, in the words of `formats.wait`. */
export function wait(seconds) {
  const left = Math.max(0, Math.round(seconds));
  const at = Math.max(0, UNITS.findIndex(([size]) => left >= size));
  if (left < 1) return "0\u00a0s";
  const [size, unit] = UNITS[at];
  const words = `${Math.floor(left / size)}\u00a0${unit}`;
  const [next, nextUnit] = UNITS[at + 1] ?? [Infinity];
  const rest = left % size;
  return rest < next ? words : `${words} ${Math.floor(rest / next)}\u00a0${nextUnit}`;
}

/** Write how long ago something was, in the words of `formats.ago`. */
export function ago(seconds) {
  const found = UNITS.find(([size]) => seconds >= size);
  return found ? `${Math.floor(seconds / found[0])}\u00a0${found[1]} ago` : "just now";
}

/**
 * Set all moments below an element in the reader's time zone; as `formats.clock` does,
 * without the day where it is that of now.
 * @param now - The server's time in seconds since 1970.
 */
export function localize(root, now) {
  const today = DAY.format(now * 1000);
  for (const each of root.querySelectorAll("time[data-at]")) {
    const at = Number(each.dataset.at) * 1000;
    const isShort = !("day" in each.dataset) && DAY.format(at) === today;
    write(each, (isShort ? CLOCK : MOMENT).format(at));
  }
}

/**
 * Let countdowns and ages go on.
 * @param root - Above them.
 * @param now - The server's time in seconds since 1970: the reader's clock may be wrong.
 */
export function tick(root, now) {
  for (const each of root.querySelectorAll("time[data-until]")) {
    const left = Number(each.dataset.until) - now;
    write(each, left < 0.5 ? "now" : each.dataset.before + wait(left));
  }
  for (const each of root.querySelectorAll("time[data-ago]")) {
    write(each, ago(now - Number(each.dataset.ago)));
  }
}

function write(element, text) {
  // An unchanged text is left alone, so that nobody's selection is lost.
  if (element.textContent !== text) element.textContent = text;
}
