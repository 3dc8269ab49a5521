/** The measured rates that the sizing rests on: their names, units and where they are kept. */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

/** Where `npm run sizing -- --measure` writes what it measured. */
const RATES_FILE = fileURLToPath(new URL('rates.json', import.meta.url));

/** Bytes of one row on disk. */
export interface RowBytes {
  readonly heap: number;
  readonly key: number;
  /** Heap, key and BRIN after its week was consolidated. */
  readonly consolidated: number;
  /** After its week turned columnar (Citus); null where no cluster was at hand. */
  readonly columnar: number | null;
}

/** All of them. CPU is what the server's processes took together, in seconds of one core per million rows. */
export interface Rates {
  readonly measured_on: string;
  readonly postgres: string;
  readonly citus: string | null;
  readonly bytes: { readonly changes: RowBytes; readonly balances: RowBytes; readonly state: RowBytes };
  readonly cpu_s_per_million: {
    /** Flight to COPY frames, in the loader's process. */
    readonly loader: number;
    /** COPY of changes into hash partitions whose key is live. */
    readonly copy: number;
    /** The same into a plain table, then its key. */
    readonly copy_bulk: number;
    /** Live fold, a batch at a time. */
    readonly fold: number;
    /** Fold of a whole week. */
    readonly fold_bulk: number;
    /** VACUUM FREEZE of a closed week of changes. */
    readonly freeze: number;
    /** Consolidation of a week of changes: copy, key, freeze, proof. */
    readonly consolidate: number;
    /** What the coordinator's backend takes to pass a COPY on; null without a cluster. */
    readonly coordinator: number | null;
    /** Turning a week columnar, wall time of one backend; null without a cluster. */
    readonly columnar: number | null;
  };
  readonly wal_bytes: {
    /** Per change: COPY, without images of whole pages. */
    readonly copy: number;
    /** Per balance row: fold. */
    readonly fold: number;
    readonly freeze: number;
    readonly consolidate: number;
    /** Images of whole pages per change loaded and folded, where every page is met for the first time since a checkpoint. */
    readonly images_per_change: number;
    /** Bytes of one image, compressed. */
    readonly image: number;
  };
  /** Locks that a query without a bound takes for each leaf. */
  readonly locks_per_leaf: number;
}

/** Reads the committed rates. */
export const readRates = async (): Promise<Rates> => JSON.parse(await readFile(RATES_FILE, 'utf8')) as Rates;

/** Writes them. */
export const writeRates = (rates: Rates): Promise<void> =>
  writeFile(RATES_FILE, `${JSON.stringify(rates, null, 2)}\n`);
