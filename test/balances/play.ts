/** Plays a history through the real load path and compares every commit with the oracle. */
import { expect } from 'vitest';
import type { BatchMetadata, BlockRange } from '../../src/chain/range.ts';
import { protocolStart, protocolStep, type ProtocolState } from '../../src/chain/protocol.ts';
import { asWarehouseError } from '../../src/db/errors.ts';
import type { Pool } from '../../src/db/query.ts';
import { createPipeline, type Pipeline } from '../../src/jobs/pipeline.ts';
import type { TransfersConfig } from '../../src/runtime/config.ts';
import { assetId, assetIdText } from '../../src/warehouse/assets.ts';
import { accountBytes } from '../../src/warehouse/account.ts';
import { createBatchWriter, type BatchWriter } from '../../src/warehouse/batches.ts';
import { postgresStore } from '../../src/warehouse/state/postgres.ts';
import { claimStream } from '../../src/warehouse/stream-state.ts';
import { createTransfers } from '../../src/warehouse/transfers.ts';
import { policyOf } from '../jobs/loading.ts';
import { hashOf } from '../jobs/scripted-server.ts';
import { crashingPool, type Crash } from './crash.ts';
import {
  ACCOUNTS,
  STEP_MICROS,
  SUNDAY,
  type History,
  type StateLoss,
  type Step,
  type Transfer,
} from './histories.ts';
import { foldAll, type Change } from './oracle.ts';
import { PLACED_TRANSFERS, transfersBatch, type PlacedTransfer } from './record-batches.ts';
import { expectFolded, storedTables } from './tables.ts';

/** The present of the tests: the window of sane times ends a week behind it. */
export const NOW = new Date('2026-03-01T00:00:00Z');

const NETWORK = 'tests';

/** Accounts of the histories: the zero address, hex addresses, and one that is text. */
const ACCOUNT_TEXTS = [
  `0x${'00'.repeat(20)}`,
  ...Array.from({ length: ACCOUNTS - 2 }, (_unused, index) => `0x${'a'.repeat(38)}0${index + 1}`),
  'cosmos1abc',
];

/** One block of the chain as the server has it now. */
interface Block {
  readonly hash: string;
  readonly transfers: readonly PlacedTransfer[];
  /** As they were drawn, for re-inclusion. */
  readonly drawn: readonly Transfer[];
}

/** A stream with its chain, and what of the chain is committed. */
export interface Player {
  readonly stream: string;
  readonly assets: readonly string[];
  /** The server's chain; the index is the block's number. */
  readonly chain: Block[];
  /** The blocks that the ledger says are loaded. */
  readonly loaded: Block[];
  play(step: Step, index: number): Promise<void>;
  changes(): readonly Change[];
  /** Ends the run: the next step starts from the ledger, as a new process does. */
  restart(): void;
}

interface Message {
  readonly batch: ReturnType<typeof transfersBatch> | null;
  readonly metadata: BatchMetadata;
}

/** A fault in the middle of a transaction. */
export interface Disaster {
  /** A pool whose next transaction meets the fault at a statement. */
  strike(pool: Pool, crash: Crash): Pool;
  /** Returns when a new run may begin; throws what the fault does not explain. */
  recover(thrown: unknown): void | Promise<void>;
}

/** What a player is made for. */
export interface PlayerOptions {
  readonly stream: string;
  /** Two keys of assets. */
  readonly tokens: readonly string[];
  readonly fold?: 'live' | 'deferred';
  /** What a step's crash is, and what comes before the next run; by default the client's connection dies. */
  readonly disaster?: Disaster;
  /** Looks at the tables after every commit; by default they must be exact. */
  readonly check?: (player: Player) => Promise<void>;
}

const keyOf = (account: string, token: string): string =>
  `${accountBytes(account).toString('hex')} ${assetIdOf(token)}`;

const assetIdOf = (token: string): string =>
  assetIdText(assetId({ network: NETWORK, standard: 'erc20', assetKey: token, tokenId: null }));

/** The two changes of a transfer. */
const changesOf = ({ from, to, token, micros, units }: PlacedTransfer): Change[] => [
  { key: keyOf(to, token), micros, units },
  { key: keyOf(from, token), micros, units: -units },
];

/** A player of the history in this database. */
export const createPlayer = (
  pool: Pool,
  history: Pick<History, 'grain' | 'scale' | 'amounts' | 'commitRows'>,
  { stream, tokens, fold = 'live', check, disaster = DEAD_CLIENT }: PlayerOptions,
): Player => {
  const { grain, scale, amounts, commitRows } = history;
  const settings = { ...PLACED_TRANSFERS, grain, fold };
  const config = policyOf('grpc://127.0.0.1:1', { [stream]: settings }).streams[stream] as TransfersConfig;
  const chain: Block[] = [];
  const loaded: Block[] = [];
  const assets = tokens.map(assetIdOf);

  const place = (drawn: readonly Transfer[], block: number, clock: number): PlacedTransfer[] =>
    drawn.map(({ from, to, asset, units, when }, position) => ({
      block,
      position,
      micros: SUNDAY + ('clock' in when ? BigInt(clock + when.clock) : when.fixed),
      token: tokens[asset]!,
      from: ACCOUNT_TEXTS[from]!,
      to: ACCOUNT_TEXTS[to]!,
      units,
    }));

  /** Changes the chain as the step says; returns the number of its first new block. */
  const extend = ({ back, reinclude, blocks }: Step, index: number): number => {
    const gone = chain.splice(Math.max(0, chain.length - back));
    const first = chain.length;
    for (const [offset, fresh] of blocks.entries()) {
      const drawn = [...(reinclude ? (gone[offset]?.drawn ?? []) : []), ...fresh];
      const block = first + offset;
      chain.push({
        hash: hashOf(block, `${stream} ${index}`),
        transfers: place(drawn, block, index * STEP_MICROS),
        drawn,
      });
    }
    return first;
  };

  const rangeOf = (start: number, end: number): BlockRange => ({
    network: NETWORK,
    start,
    end,
    hash: chain[end]!.hash,
    prevHash: chain[start - 1]?.hash ?? hashOf(-1),
    timestamp: null,
  });

  const messagesOf = (first: number, { blocksPerBatch, parts, replay }: Step): Message[] => {
    const microbatches: Message[][] = [];
    for (let start = first; start < chain.length; start += blocksPerBatch) {
      const range = rangeOf(start, Math.min(start + blocksPerBatch, chain.length) - 1);
      const transfers = chain.slice(range.start, range.end + 1).flatMap((block) => block.transfers);
      const size = Math.max(1, Math.ceil(transfers.length / parts));
      const cuts = Array.from({ length: Math.ceil(transfers.length / size) }, (_unused, part) => part * size);
      microbatches.push([
        ...cuts.map((cut) => ({
          batch: transfersBatch(transfers.slice(cut, cut + size), scale, amounts),
          metadata: { ranges: [range], complete: false },
        })),
        { batch: null, metadata: { ranges: [range], complete: true } },
      ]);
    }
    return [...microbatches, ...(replay ? microbatches.slice(-1) : [])].flat();
  };

  const apply = (range: BlockRange): void => {
    loaded.splice(range.start, Infinity, ...chain.slice(range.start, range.end + 1));
  };

  /** The ranges whose commit was asked for and not answered. */
  let unanswered: BlockRange[] = [];
  /** Whether the state was lost and no fold has come since: only then may it be wrong. */
  let lost = false;

  const watched = (writer: BatchWriter): BatchWriter => ({
    ...writer,
    commit: async (entries) => {
      unanswered = entries.map(({ range }) => range);
      const result = await writer.commit(entries);
      for (const range of unanswered.splice(0)) apply(range);
      lost = false;
      await verify();
      return result;
    },
  });

  /** A run of the stream: what `ingest` opens, and the state of its protocol. */
  let run: { readonly pipeline: Pipeline; state: ProtocolState } | null = null;

  const open = async (through: Pool): Promise<NonNullable<typeof run>> => {
    const dataset = createTransfers(pool, stream, config, NOW);
    const claim = await claimStream(pool, dataset.definition);
    for (const range of unanswered.splice(0))
      if (await postgresStore(pool, stream).isProcessed(range)) apply(range);
    await dataset.prepare(transfersBatch([], scale, amounts).schema);
    const writer = watched(createBatchWriter(through, claim, dataset));
    const events = { committed: () => undefined, reorged: () => undefined };
    const pipeline = createPipeline(writer, dataset, commitRows, events);
    return { pipeline, state: protocolStart(await postgresStore(pool, stream).tails()) };
  };

  /** Feeds messages as `ingest` does; a run that fails is abandoned, and the next one starts from the ledger. */
  const feed = async (through: Pool, messages: readonly Message[]): Promise<void> => {
    const opened = (run ??= await open(through));
    const { pipeline } = opened;
    try {
      for (const { batch, metadata } of messages) {
        let step = protocolStep(opened.state, metadata);
        if (step.rewind !== null) {
          // This server knows its forks: one that begins at the last block begins there, and need not be looked for.
          const number = metadata.ranges[0]!.start + 1;
          const known = protocolStart(opened.state.tails, [{ network: NETWORK, number, hash: '' }]);
          step = protocolStep(known, metadata);
        }
        opened.state = step.state;
        for (const range of step.reorgs) await pipeline.reorg(range);
        if (step.load && batch !== null) await pipeline.append(batch, metadata.ranges);
        if (step.watermark !== null) await pipeline.watermark(step.watermark);
      }
      await pipeline.finish();
    } catch (thrown) {
      run = null;
      await pipeline.abandon();
      throw thrown;
    }
  };

  const changes = (): Change[] => loaded.flatMap((block) => block.transfers.flatMap(changesOf));

  const verify = async (): Promise<void> => {
    if (check !== undefined) await check(player);
    else expectFolded(await storedTables(pool, assets), foldAll(changes(), grain, scale));
  };

  const play = async (step: Step, index: number): Promise<void> => {
    const messages = messagesOf(extend(step, index), step);
    if (step.loss !== null) {
      await pool.query(LOSSES[step.loss]);
      lost = true;
    }
    if (step.crash !== null) {
      run = null;
      const thrown = await feed(disaster.strike(pool, step.crash), messages).catch((fault: unknown) => fault);
      await disaster.recover(thrown);
      run = await open(pool);
      if (!lost) await verify();
    }
    await feed(pool, messages);
    expect(loaded.length).toBe(chain.length);
  };

  const restart = (): void => {
    run = null;
  };
  const player: Player = { stream, assets, chain, loaded, play, changes, restart };
  return player;
};

/** How the state is lost; each is healed by the next fold. */
export const LOSSES: Readonly<Record<StateLoss, string>> = {
  truncated: 'truncate strata.account_balances_current',
  // The last one: on a cluster, where the shards are the leaves, it is all there is.
  'leaf truncated': `do $$ begin execute (select 'truncate ' || max(i.inhrelid::regclass::text) from pg_inherits i where i.inhparent = 'strata.account_balances_current'::regclass); end $$`,
  deleted: 'delete from strata.account_balances_current',
  'marked stale': `select strata.mark_state_stale(); update strata.account_balances_current set balance = balance + 1`,
};

/** A died connection is what was asked for; anything else is a failure of the test. */
const refuseAllButCrashes = (thrown: unknown): void => {
  if (thrown !== undefined && asWarehouseError(thrown).kind !== 'connection') throw thrown;
};

const DEAD_CLIENT: Disaster = { strike: crashingPool, recover: refuseAllButCrashes };
