// Numbers on the axes and at the cursor, as short as the browser writes them.

const format = (options) => {
  const { format } = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3, ...options });
  return format;
};

const count = format({});
const money = format({ style: "currency", currency: "USD" });
const whole = format({ style: "unit", unitDisplay: "narrow", unit: "second" });
const thousandths = format({ style: "unit", unitDisplay: "narrow", unit: "millisecond" });
const seconds = (value) => (value > 0 && value < 0.1 ? thousandths(value * 1000) : whole(value));

/** By the `unit` of a chart. */
export const WRITERS = { count, money, seconds };
