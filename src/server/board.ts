/**
 * What the page shows, read once for all who look: each section is a cell, and while somebody looks a loop reads what has grown
 * old and tells what has changed. While nobody looks nothing is asked.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Reader } from '../db/reader.ts';
import type { Client } from '../db/query.ts';
import { messageOf } from '../runtime/errors.ts';
import { readAtlas, readSizes } from '../warehouse/page/atlas.ts';
import { readRates, readRuns, type RunLine, type StreamRate } from '../warehouse/page/journal.ts';
import { drawMap, type SetMap } from '../warehouse/page/strata-map.ts';
import type { Alert } from '../warehouse/partitions/alerts.ts';
import { watchSets } from '../warehouse/partitions/watch.ts';
import { readStreams, type StreamStatus } from '../warehouse/status.ts';
import { createCell, type Cell } from './cell.ts';

/** A stream with what the page shows beside its status. */
export interface StreamCard extends StreamStatus {
  /** Rows of each of the last sixty minutes. */
  readonly minutes: readonly number[];
}

/** Each section, as a cell. */
export interface Sections {
  readonly streams: Cell<readonly StreamCard[]>;
  readonly map: Cell<readonly SetMap[]>;
  readonly runs: Cell<readonly RunLine[]>;
  readonly alerts: Cell<readonly Alert[]>;
}

/** Told of what has changed: a section's name and its JSON, or `trouble` and what is wrong (null: nothing any more). */
export type Listener = (event: keyof Sections | 'trouble', json: string) => void;

/** The board. */
export interface Board {
  readonly sections: Sections;
  /** Tells what is known at once, and then what changes. @returns takes the listener off */
  watch(listener: Listener): () => void;
  viewers(): number;
  close(): void;
}

/** How old what is shown may be. */
const FRESH_MS = 2000;

/** Sizes and alerts ask more of the server, and change slowly. */
const SLOW_MS = 10_000;

/** Runs that are listed. */
const RUNS_SHOWN = 40;

/** What people look for first comes first. */
const WAVES: readonly (readonly (keyof Sections)[])[] = [['map', 'streams', 'runs'], ['alerts']];

/** Time that reading them may take. */
const SLOW_LIMIT_MS = 30_000;

/** A board over `reader`. */
export const createBoard = (reader: Reader, refresh_ms = FRESH_MS): Board => {
  const sizes = createCell(() => reader.read(readSizes, SLOW_LIMIT_MS), SLOW_MS);
  let measuring: Promise<unknown> | null = null;
  const readMap = async (): Promise<readonly SetMap[]> => {
    const atlas = await reader.read(readAtlas);
    // The map does not wait for the sizes: what was not measured yet is drawn without.
    measuring ??= sizes
      .get()
      .catch(() => undefined)
      .finally(() => {
        measuring = null;
      });
    return drawMap(atlas, sizes.last() ?? new Map());
  };
  const sections: Sections = {
    streams: createCell(() => reader.read(readCards), refresh_ms),
    map: createCell(readMap, refresh_ms),
    runs: createCell(() => reader.read((client) => readRuns(client, RUNS_SHOWN)), refresh_ms),
    alerts: createCell(() => reader.read((client) => watchSets(client), SLOW_LIMIT_MS), SLOW_MS),
  };
  const listeners = new Set<Listener>();
  const told = new Map<keyof Sections, string>();
  let trouble: string | null = null;
  let closed: AbortController | null = null;

  const tell: Listener = (event, json) => {
    for (const listener of listeners) listener(event, json);
  };
  const refreshOne = async (name: keyof Sections): Promise<string | null> => {
    try {
      const json = JSON.stringify(await sections[name].get());
      if (told.get(name) !== json) {
        told.set(name, json);
        tell(name, json);
      }
      return null;
    } catch (thrown) {
      return messageOf(thrown);
    }
  };
  const refresh = async (): Promise<void> => {
    const failures: (string | null)[] = [];
    for (const wave of WAVES) failures.push(...(await Promise.all(wave.map(refreshOne))));
    const now = failures.find((failure) => failure !== null) ?? null;
    if (now === trouble) return;
    trouble = now;
    tell('trouble', JSON.stringify(trouble));
  };
  const loop = async (signal: AbortSignal): Promise<void> => {
    while (!signal.aborted) {
      await refresh();
      await sleep(refresh_ms, undefined, { signal, ref: false }).catch(() => undefined);
    }
  };
  return {
    sections,
    watch: (listener) => {
      listeners.add(listener);
      for (const [name, json] of told) listener(name, json);
      if (trouble !== null) listener('trouble', JSON.stringify(trouble));
      if (closed === null) {
        closed = new AbortController();
        void loop(closed.signal);
      }
      return () => {
        listeners.delete(listener);
        if (listeners.size > 0) return;
        closed?.abort();
        closed = null;
      };
    },
    viewers: () => listeners.size,
    close: () => {
      listeners.clear();
      closed?.abort();
    },
  };
};

const readCards = async (client: Client): Promise<readonly StreamCard[]> => {
  const rates: readonly StreamRate[] = await readRates(client);
  return (await readStreams(client)).map((stream) => ({
    ...stream,
    minutes:
      rates.find((rate) => rate.stream === stream.stream && rate.network === stream.network)?.rows ?? [],
  }));
};
