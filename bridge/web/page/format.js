// Numbers and times as people read them. What is not known is a dash.

export const UNKNOWN = "–";
//: Groups of digits do not break over lines.
const THIN = "\u202f";

const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

export function count(value) {
  if (!known(value)) return UNKNOWN;
  const digits = String(Math.round(Math.abs(value)));
  let grouped = "";
  for (let place = 0; place < digits.length; place += 1) {
    if (place && (digits.length - place) % 3 === 0) grouped += THIN;
    grouped += digits[place];
  }
  return value < 0 ? `−${grouped}` : grouped;
}

//: For axes: 1.5k, 20k, 3M.
export function short(value) {
  if (!known(value)) return UNKNOWN;
  for (const [unit, sign] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= unit) return `${trimmed(value / unit)}${sign}`;
  }
  return trimmed(value);
}

const trimmed = (value) => (Math.abs(value) >= 10 ? String(Math.round(value)) : String(Math.round(value * 10) / 10));

export function rate(value) {
  if (!known(value)) return UNKNOWN;
  return `${value >= 100 ? count(value) : value >= 0.05 || value === 0 ? trimmedTo(value, 1) : "<0.1"}/s`;
}

export function millis(value) {
  if (!known(value)) return UNKNOWN;
  return value >= 1000 ? `${trimmedTo(value / 1000, 1)} s` : `${trimmedTo(value, value < 10 ? 1 : 0)} ms`;
}

const trimmedTo = (value, places) => String(Number(value.toFixed(places)));

//: Two units at most: 3 h 20 min, 2 d 4 h, 45 s.
export function duration(seconds) {
  if (!known(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 600) return joined(Math.floor(whole / 60), "min", whole % 60, "s");
  if (whole < 3600) return `${Math.round(whole / 60)} min`;
  if (whole < 86400) return joined(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
  return joined(Math.floor(whole / 86400), "d", Math.floor((whole % 86400) / 3600), "h");
}

const joined = (large, one, small, other) => (small ? `${large} ${one} ${small} ${other}` : `${large} ${one}`);

const two = (value) => String(value).padStart(2, "0");

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

//: 23:31:05, by the clock of whoever reads; with the date unless it is today.
export function clock(at, now = new Date()) {
  const time = at instanceof Date ? at : new Date(at);
  if (Number.isNaN(time.getTime())) return UNKNOWN;
  const hours = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  return time.toDateString() === now.toDateString() ? hours : `${time.getDate()} ${MONTHS[time.getMonth()]} ${hours}`;
}

export function shortClock(seconds) {
  const time = new Date(seconds * 1000);
  return `${two(time.getHours())}:${two(time.getMinutes())}`;
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
