/** Names of label columns: plain SQL names that need no quotes, each once, from whatever a file has as its header. */

/** What PostgreSQL's own columns are called. */
const SYSTEM_COLUMNS = ['tableoid', 'xmin', 'cmin', 'xmax', 'cmax', 'ctid'];

/** Room is left for a prefix: names of PostgreSQL have at most 63 bytes. */
const NAME_CHARACTERS_MAX = 40;

const plainName = (header: string, index: number): string => {
  const letters = header
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')
    .replaceAll(/^_+|_+$/g, '')
    .slice(0, NAME_CHARACTERS_MAX)
    .replace(/_+$/, '');
  if (letters === '') return `column_${index + 1}`;
  return /^\d/.test(letters) ? `_${letters}` : letters;
};

/**
 * Names for the columns of a header, in its order.
 *
 * @param taken names that are not to be had: the key column, SQL's reserved words
 * @example columnNames(['Name', 'name', 'E-Mail', 'order', '', '24h €'], new Set(['order']))
 * // ['name', 'name_2', 'e_mail', 'order_', 'column_5', '_24h']
 */
export const columnNames = (headers: readonly string[], taken: ReadonlySet<string>): string[] => {
  const used = new Set(SYSTEM_COLUMNS);
  return headers.map((header, index) => {
    const plain = plainName(header, index);
    const base = taken.has(plain) ? `${plain}_` : plain;
    let name = base;
    for (let count = 2; used.has(name) || taken.has(name); count++) name = `${base}_${count}`;
    used.add(name);
    return name;
  });
};
