/** Plots over time: uPlot in the page's colours, redrawn when its width or the scheme of colours changes. */
import { h } from './dom.js';

/** @type {Promise<any> | null} */
let library = null;

/** The charting library; it is loaded when the first plot is drawn. */
const load = () => {
  if (library === null) {
    document.head.append(h('link', { rel: 'stylesheet', href: '/uplot.css' }));
    const path = '/uplot.js';
    library = import(path).then(
      (module) => module.default,
      () => {
        library = null;
        throw new Error('the charting library could not be loaded');
      },
    );
  }
  return library;
};

const colour = (name) => {
  const probe = h('span', {});
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
};

/** Room for the longest number beside an axis. */
const axisWidth = (_plot, texts) => 24 + 7 * Math.max(3, ...(texts ?? []).map((text) => text.length));

/** Numbers beside an axis, with as many digits as it takes to tell them apart. */
const axisTexts = (ticks, short) => {
  const texts = ticks.map(short);
  if (new Set(texts).size === texts.length) return texts;
  for (let digits = 4; digits < 16; digits++) {
    const longer = ticks.map((tick) => tick.toPrecision(digits));
    if (new Set(longer).size === longer.length) return longer;
  }
  return texts;
};

/** Dates under an axis: the year where it begins, hours where days would repeat. */
const axisDates = (_plot, ticks, _axis, _space, step) =>
  ticks.map((tick, index) => {
    const iso = new Date(tick * 1000).toISOString();
    if (step < 86_400) return iso.slice(11, 16);
    return index === 0 || iso.slice(0, 4) !== new Date(ticks[index - 1] * 1000).toISOString().slice(0, 4)
      ? iso.slice(0, 10)
      : iso.slice(5, 10);
  });

const dark = matchMedia('(prefers-color-scheme: dark)');

/** Draws again what is in a box; one box, one plot. @type {WeakMap<HTMLElement, { stop: () => void }>} */
const plots = new WeakMap();

/** Takes the plot out of a box. @param {HTMLElement} box */
export const clearPlot = (box) => {
  plots.get(box)?.stop();
  plots.delete(box);
};

/**
 * Plots series over seconds since 1970.
 *
 * @param {HTMLElement} box
 * @param {{ label: string, data: (number | null)[][], series: { label: string, colour: string, dash?: number[], stepped?: boolean }[],
 *   value: (value: number) => string, onPick?: (seconds: number) => void }} what `label` is for those who do not see it
 */
export const plot = async (box, what) => {
  const uPlot = await load();
  clearPlot(box);
  const holder = h('div', { role: 'img', 'aria-label': what.label });
  box.prepend(holder);
  /** @type {any} */
  let chart = null;
  const draw = () => {
    chart?.destroy();
    const [ink, line] = [colour('soft'), colour('line')];
    const axis = {
      stroke: ink,
      grid: { stroke: line, width: 1 },
      ticks: { stroke: line, width: 1 },
      font: '12px system-ui',
    };
    chart = new uPlot(
      {
        width: Math.max(200, box.clientWidth),
        height: 230,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'UTC'),
        cursor: { y: false, drag: { x: false, y: false } },
        legend: { live: true },
        axes: [
          { ...axis, values: axisDates, space: 70 },
          { ...axis, size: axisWidth, values: (_plot, ticks) => axisTexts(ticks, what.value) },
        ],
        series: [
          {
            value: (_plot, seconds) =>
              seconds ? new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' ') : '–',
          },
          ...what.series.map(({ label, colour: name, dash, stepped }) => ({
            label,
            stroke: colour(name),
            width: 2,
            dash,
            points: { show: false },
            paths: stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
            value: (_plot, value) => (value === null ? '–' : what.value(value)),
          })),
        ],
      },
      what.data,
      holder,
    );
    if (what.onPick) {
      chart.over.addEventListener('click', () => {
        const { left } = chart.cursor;
        if (left >= 0) what.onPick?.(chart.posToVal(left, 'x'));
      });
    }
  };
  draw();
  let { clientWidth: width } = box;
  const resized = new ResizeObserver(() => {
    if (box.clientWidth === width) return;
    width = box.clientWidth;
    requestAnimationFrame(() => chart.setSize({ width: Math.max(200, width), height: 230 }));
  });
  resized.observe(box);
  dark.addEventListener('change', draw);
  plots.set(box, {
    stop: () => {
      resized.disconnect();
      dark.removeEventListener('change', draw);
      chart.destroy();
      holder.remove();
    },
  });
};
