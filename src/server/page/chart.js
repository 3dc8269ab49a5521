/** Plots over time: uPlot in the page's colours, redrawn when its width or the scheme of colours changes. */
import { h } from './dom.js';

/** @type {Promise<any> | null} */
let library = null;

/** The charting library; it is loaded when the first plot is drawn. */
const load = () => {
  if (library === null) {
    document.head.append(h('link', { rel: 'stylesheet', href: '/uplot.css' }));
    library = import('/uplot.js').then((module) => module.default);
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
        axes: [axis, { ...axis, size: 78, values: (_plot, ticks) => ticks.map(what.value) }],
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
