/** Makes and fills elements: text is always text, never markup. */

/**
 * An element with properties, attributes and children. Keys that begin with `data-`, `aria-`, or name no property become
 * attributes; `class` and `text` are what they say; functions are listeners of the event behind `on`.
 *
 * @param {string} tag
 * @param {Record<string, string | number | boolean | null | undefined | ((event: any) => unknown)>} [attributes]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {any} the element, of the kind its tag says
 */
export const h = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'class') element.className = String(value);
    else if (name === 'text') element.textContent = String(value);
    else if (typeof value === 'function')
      element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};

/**
 * @param {string} id
 * @returns {any} the element, of whatever kind the page has there
 */
export const byId = (id) => document.getElementById(id);

/**
 * Puts children in the place of what an element holds, and says that it is no longer waited for.
 *
 * @param {HTMLElement} element
 * @param {...(Node | string | null | false)} children
 */
export const fill = (element, ...children) => {
  element.replaceChildren(...children.filter((child) => child !== null && child !== false));
  element.removeAttribute('aria-busy');
};

/**
 * A table; each column is its head, whether it holds numbers, and how a row fills its cell.
 *
 * @template T
 * @param {string} caption for those who do not see it
 * @param {readonly { head: string, num?: boolean, class?: string, cell: (row: T) => Node | string | null }[]} columns
 * @param {readonly T[]} rows
 * @param {{ class?: string, row?: (row: T) => Record<string, string | null>, below?: (row: T) => Node | null }} [options]
 */
export const table = (caption, columns, rows, options = {}) =>
  h(
    'table',
    { class: options.class },
    h('caption', { class: 'hidden', text: caption }),
    h(
      'thead',
      {},
      h(
        'tr',
        {},
        ...columns.map((column) =>
          h('th', {
            scope: 'col',
            class: column.num || /\b(num|amount)\b/.test(column.class ?? '') ? 'num' : null,
            text: column.head,
          }),
        ),
      ),
    ),
    h(
      'tbody',
      {},
      ...rows.flatMap((row) => {
        const below = options.below?.(row) ?? null;
        const cells = columns.map((column) =>
          h(
            'td',
            {
              class: [column.num ? 'num' : '', column.class ?? ''].join(' ').trim() || null,
              'data-label': column.head,
            },
            column.cell(row),
          ),
        );
        return [
          h('tr', { class: below && 'followed', ...options.row?.(row) }, ...cells),
          below && h('tr', {}, h('td', { colspan: columns.length, class: 'below full' }, below)),
        ].filter((line) => line !== null);
      }),
    ),
  );

/**
 * What could not be shown, and why.
 *
 * @param {unknown} thrown
 */
export const failure = (thrown) => {
  const { message, remedy } = /** @type {{ message: string, remedy?: string }} */ (thrown);
  return h('p', { class: 'failed', role: 'alert' }, prose(remedy ? `${message}. ${remedy}` : message));
};

/**
 * Asks the server; a refusal is thrown with its remedy.
 *
 * @param {string} path
 * @param {Record<string, string>} [query]
 */
export const ask = async (path, query = {}) => {
  const response = await fetch(`${path}?${new URLSearchParams(query)}`).catch(() => {
    throw new Error('the server does not answer');
  });
  if (response.status === 401) location.assign('/login');
  const body = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  if (!response.ok) throw Object.assign(new Error(body.error), { remedy: body.remedy });
  return body;
};

/**
 * A sentence in which `backticks` mark what is typed.
 *
 * @param {string} text
 */
export const prose = (text) => {
  const line = h('span', {});
  line.append(...text.split('`').map((part, index) => (index % 2 === 1 ? h('code', { text: part }) : part)));
  return line;
};
