/** How values read: bytes, counts, instants (UTC), spans, exact amounts. */
const COUNT = new Intl.NumberFormat('en');
const SHORT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** @param {number | null | undefined} value */
export const count = (value) => (value === null || value === undefined ? '–' : COUNT.format(value));

/** @param {number | null | undefined} value */
export const short = (value) => (value === null || value === undefined ? '–' : SHORT.format(value));

/** A number of things. @param {number} value @param {string} thing one of them */
export const counted = (value, thing) => `${count(value)} ${thing}${value === 1 ? '' : 's'}`;

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** @param {number | null | undefined} value */
export const bytes = (value) => {
  if (value === null || value === undefined) return '–';
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, Math.abs(value))) / 3));
  const scaled = value / 1000 ** power;
  return `${power > 0 && Math.abs(scaled) < 10 ? scaled.toFixed(1) : Math.round(scaled)} ${UNITS[power]}`;
};

/** A span of seconds in its largest unit. @param {number | null | undefined} seconds */
export const span = (seconds) => {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 90) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
};

/** @param {string | null | undefined} iso */
export const day = (iso) => (iso ? iso.slice(0, 10) : '–');

/** @param {string | null | undefined} iso */
export const minute = (iso) => (iso ? iso.slice(0, 16).replace('T', ' ') : '–');

/** @param {string} iso */
export const ago = (iso) => `${span(Math.max(0, (Date.now() - Date.parse(iso)) / 1000))} ago`;

/** Digits in groups of three, every one of them. @param {string} text an exact decimal number */
export const exact = (text) => {
  const [whole = '', fraction] = text.split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
};

/** Of an amount of many digits, enough to compare by eye. @param {string} text */
export const rough = (text) => {
  const value = Number(text);
  if (Math.abs(value) < 1e15) return short(value);
  const [digits, power] = value.toExponential(4).split('e+');
  return `${Number(digits)}e${power}`;
};

/** The two ends of a long name. @param {string} text */
export const clip = (text) => (text.length > 20 ? `${text.slice(0, 10)}…${text.slice(-6)}` : text);

/** @param {number} share from 0 to 1 */
export const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 2 : 1)} %`;
