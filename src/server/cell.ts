/** A value that many ask for and one query answers: asked for at most once at a time, and again only when it has grown old. */

/** A shared value. */
export interface Cell<T> {
  /** The value, read now unless it is young enough. @throws what reading it failed with */
  get(): Promise<T>;
  /** The newest value, however old; null before the first. */
  last(): T | null;
}

/** However cheap it should be, reading takes at most this share of the time: a value that took a second is good for ten. */
const SHARE = 0.1;

/**
 * A cell.
 *
 * @param freshFor_ms how long a value is good for
 * @param now milliseconds of a clock that only goes forward
 */
export const createCell = <T>(
  read: () => Promise<T>,
  freshFor_ms: number,
  now: () => number = () => performance.now(),
): Cell<T> => {
  let value: { readonly is: T } | null = null;
  let goodUntil = Number.NEGATIVE_INFINITY;
  let reading: Promise<T> | null = null;
  const readNow = async (): Promise<T> => {
    const began = now();
    const is = await read();
    value = { is };
    const ended = now();
    goodUntil = ended + Math.max(freshFor_ms, (ended - began) / SHARE);
    return is;
  };
  return {
    get: () => {
      if (value !== null && now() < goodUntil) return Promise.resolve(value.is);
      return (reading ??= readNow().finally(() => {
        reading = null;
      }));
    },
    last: () => value?.is ?? null,
  };
};

/** Cells by name, the least recently used forgotten. */
export const createCells = <T>(
  freshFor_ms: number,
  max: number,
): ((name: string, read: () => Promise<T>) => Promise<T>) => {
  const cells = new Map<string, Cell<T>>();
  return (name, read) => {
    const cell = cells.get(name) ?? createCell(read, freshFor_ms);
    cells.delete(name);
    cells.set(name, cell);
    for (const oldest of cells.keys()) {
      if (cells.size <= max) break;
      cells.delete(oldest);
    }
    return cell.get();
  };
};
