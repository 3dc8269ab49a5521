/** The whole server of a worker is killed, and stays away for a while: what that does to batches, forks, folds, commits and commands. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createChain, type SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet, type Devnet } from '../../src/devnet/server.ts';
import { createPool } from '../../src/db/pool.ts';
import { foldStream } from '../../src/jobs/fold.ts';
import { prospectOf } from '../../src/runtime/transient.ts';
import { asWarehouseError } from '../../src/db/errors.ts';
import { blocksOf, DAY, HOUR, move, openStream, valueOf, verified, WEEK } from '../balances/harness.ts';
import type { Player } from '../balances/play.ts';
import { expectExact } from '../balances/tables.ts';
import { jsonOf, openFolder, type Folder } from '../cli/command.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { TRANSFERS } from '../jobs/loading.ts';
import { expectChain, wrongBalances } from '../jobs/oracle.ts';
import { supervise } from '../jobs/supervised.ts';
import { withConnection } from '../postgres.ts';
import { nodeUrl, workersOf, type ClusterNode } from './cluster.ts';
import { openWorker, type Worker } from './postmaster.ts';
import { holdPrepare, holdState } from './shard-gates.ts';
import { killedServer, recoverCluster } from './worker-kill.ts';

/** Statements of one load's transaction, from `begin` to `commit`. */
const STATEMENTS = 14;

/** Registers the tests; for a cluster whose workers may be killed. */
export const testKilledServer = (): void => {
  const database = useDatabase();
  let nodes: readonly ClusterNode[];
  let worker: Worker;
  let alive = true;

  const killed: Worker = {
    kill: async () => {
      alive = false;
      await worker.kill();
    },
    restart: async () => {
      await worker.restart();
      alive = true;
    },
  };

  beforeAll(async () => {
    const name = new URL(database.url).pathname.slice(1);
    // A session learns that a kept connection to a worker is dead only by using it: the test's own keep none.
    await database.pool.query(`alter database ${name} set citus.max_cached_conns_per_worker = 0`);
    nodes = await workersOf(database.url);
    worker = await openWorker(database.url, nodes[0]!);
  });
  afterEach(async () => {
    if (!alive) await killed.restart(); // a test that failed in between
    await recoverCluster(database.url);
  });

  const exact = (player: Player): Promise<unknown> => expectExact(database.pool, 'hour', player.assets, 0);
  const kindOf = (thrown: unknown): string => asWarehouseError(thrown).kind;

  /** Blocks that touch old and new weeks, so that their fold takes every way. */
  const batch = (at: number): Parameters<Player['play']>[0] => {
    const hour = BigInt(at) * HOUR;
    return blocksOf([
      move(0, 1, at + 10, hour),
      move(1, 2, 1, hour),
      move(2, 3, 1, hour - WEEK),
      move(3, 4, 1, hour),
    ]);
  };

  describe('a server that is killed', () => {
    test('at any statement of a batch or a fork leaves everything exact', { timeout: 600_000 }, async () => {
      const disaster = killedServer(
        () => database.url,
        () => killed,
      );
      const stream = openStream(database.pool, 'server_killed', {
        disaster,
        check: async (player) => {
          await recoverCluster(database.url);
          await exact(player);
        },
      });
      await stream.play(blocksOf([move(0, 1, 100, 0n), move(0, 2, 7, DAY)]), 0);
      for (let at = 2; at <= STATEMENTS; at++)
        await stream.play(
          { ...batch(at), back: at % 3 === 0 ? 1 : 0, crash: { at, sent: at % 2 === 0 } },
          at,
        );
      expect(disaster.struck.kills).toBeGreaterThanOrEqual(8);
      expect(await verified(database.pool)).toMatchObject({ differences: 0, first: [] });
    });

    test('while it folds a batch has the batch rolled back whole', { timeout: 120_000 }, async () => {
      const stream = openStream(database.pool, 'folding_batch');
      await stream.play(batch(1), 0);
      const gate = await holdState(database.url, nodes[0]!);
      const playing = stream.play(batch(2), 1).catch((thrown: unknown) => thrown);
      await gate.reached();
      await killed.kill();
      expect(kindOf(await playing)).toBe('connection');
      await gate.open();
      await killed.restart();
      await recoverCluster(database.url);
      expect(stream.loaded).toHaveLength(1);
      await exact(stream);
      stream.restart();
      await stream.play({ ...batch(2), back: 1 }, 2);
      expect(stream.loaded).toHaveLength(2);
      await exact(stream);
    });

    test('while it folds what waited leaves it waiting', { timeout: 120_000 }, async () => {
      const stream = openStream(database.pool, 'folding_behind', {
        fold: 'deferred',
        check: () => Promise.resolve(),
      });
      for (let at = 1; at <= 4; at++) await stream.play(batch(at), at);
      const folding = (): ReturnType<typeof foldStream> =>
        foldStream({
          pool: database.pool,
          stream: stream.stream,
          signal: new AbortController().signal,
          rowsMax: 10,
        });
      const gate = await holdState(database.url, nodes[0]!);
      const broken = folding().catch((thrown: unknown) => thrown);
      await gate.reached();
      await killed.kill();
      expect(kindOf(await broken)).toBe('connection');
      await gate.open();
      await killed.restart();
      await recoverCluster(database.url);
      expect((await folding()).folds).toBeGreaterThan(0);
      await exact(stream);
      expect(await verified(database.pool)).toMatchObject({ differences: 0, first: [] });
    });
  });

  describe('a server that is killed between the two phases of a commit', () => {
    let coordinator: (setting: string) => Promise<unknown>;
    beforeAll(async () => {
      // Citus' daemon would end what is left before we have seen it.
      coordinator = async (setting) => {
        await database.pool.query(`alter system ${setting}`);
        await database.pool.query('select pg_reload_conf()');
      };
      await coordinator('set citus.recover_2pc_interval = -1');
    });
    afterAll(() => coordinator('reset citus.recover_2pc_interval'));

    const leftovers = (): Promise<string> =>
      valueOf(
        database.pool,
        `select sum(result::int)::text from run_command_on_workers('select count(*) from pg_prepared_xacts where database = current_database()')`,
      );

    /** Whether somebody waits on the node for the end of another transaction. */
    const waitsForRow = (node: ClusterNode): Promise<boolean> =>
      withConnection(nodeUrl(database.url, node, new URL(database.url).pathname.slice(1)), async (client) => {
        const { rowCount } = await client.query(
          `select from pg_locks where locktype = 'transactionid' and not granted`,
        );
        return (rowCount ?? 0) > 0;
      });

    test(
      'keeps its part of the batch, which is seen once it is recovered',
      { timeout: 120_000 },
      async () => {
        let whole = true;
        const stream = openStream(database.pool, 'torn_commit', {
          check: async (player) => {
            if (whole) await exact(player);
          },
        });
        const forked = openStream(database.pool, 'forked_meanwhile');
        await stream.play(batch(1), 0);
        await forked.play(batch(1), 0);
        const gate = await holdPrepare(database.url, nodes[1]!, nodes[0]!);
        whole = false;
        const playing = stream.play(batch(2), 1);
        await gate.reached();
        await killed.kill();
        await gate.open();
        await playing; // both had prepared: the coordinator's own commit counts
        await killed.restart();
        expect(Number(await leftovers())).toBeGreaterThan(0);
        // Nothing is reckoned from half a batch: a fork is refused, to be tried again; the next batch waits.
        const refused: unknown = await forked
          .play({ ...batch(9), back: 1 }, 2)
          .catch((thrown: unknown) => thrown);
        expect(asWarehouseError(refused)).toMatchObject({ kind: 'conflict', detail: { sqlstate: '40001' } });
        const waiting = stream.play(batch(3), 3);
        await until('the batch to wait for its half', () => waitsForRow(nodes[0]!));
        await recoverCluster(database.url);
        await waiting;
        expect(await leftovers()).toBe('0');
        await exact(stream);
        expect(stream.loaded).toHaveLength(3);
        await exact(forked);
      },
    );

    test('loses a batch that it had not prepared, and so does the other', { timeout: 120_000 }, async () => {
      const stream = openStream(database.pool, 'unprepared');
      await stream.play(batch(1), 0);
      const gate = await holdPrepare(database.url, nodes[0]!, nodes[1]!);
      const playing = stream.play(batch(2), 1).catch((thrown: unknown) => thrown);
      await gate.reached();
      await killed.kill();
      expect(prospectOf(asWarehouseError(await playing))).toBe('doubtful'); // Citus has no SQLSTATE for it

      await gate.open();
      await killed.restart();
      await recoverCluster(database.url);
      expect(await leftovers()).toBe('0');
      expect(stream.loaded).toHaveLength(1);
      await exact(stream);
    });
  });

  describe('loads and commands, a server away', () => {
    let chain: SimulatedChain;
    let devnet: Devnet;
    let folder: Folder;
    beforeAll(async () => {
      chain = createChain({
        accounts: 25,
        tokens: 3,
        transfersPerBlock: 8,
        blocks: 60,
        blockSeconds: 3_600,
        seed: 7,
      });
      devnet = await startDevnet({ chain, microbatchBlocks: 5 });
      const name = new URL(database.url).pathname.slice(1);
      await database.pool.query(`alter database ${name} reset citus.max_cached_conns_per_worker`);
      folder = await openFolder();
    });
    afterAll(async () => {
      await devnet.stop();
      await folder.remove();
    });

    /** By sessions that have never met the dead one. */
    const expectLoaded = async (stream: string): Promise<void> => {
      const pool = createPool(database.url, { applicationName: 'pgstrata test' });
      try {
        await expectChain(pool, stream, chain);
        expect(await wrongBalances(pool)).toEqual([]);
      } finally {
        await pool.end();
      }
    };

    test('a followed stream tries again until it is back, and goes on', { timeout: 180_000 }, async () => {
      const stream = supervise({
        url: database.url,
        server: devnet.url,
        stream: 'followed',
        settings: { ...TRANSFERS, commit_rows: 100 },
      });
      try {
        await until('commits', () => stream.committed() >= 20);
        const gate = await holdState(database.url, nodes[0]!);
        chain.advance(10);
        await gate.reached();
        await killed.kill();
        await gate.open();
        await until('retries', () => stream.retries() >= 4);
        await killed.restart();
        chain.advance(10);
        await until('the head', () => stream.committed() === chain.view().head);
        await stream.stop();
      } finally {
        await stream.end();
      }
      await recoverCluster(database.url);
      await expectLoaded('followed');
    });

    test(
      'a command gives up when its tries are over, and the next one goes on',
      { timeout: 180_000 },
      async () => {
        const environment = { DATABASE_URL: database.url };
        await folder.writePolicy({
          servers: { devnet: { url: devnet.url } },
          retry: { tries: 3, delay_ms: 10 },
          streams: { commanded: { ...TRANSFERS, server: 'devnet', commit_rows: 100, fold: 'deferred' } },
        });
        await killed.kill();
        const failed = await folder.run(['ingest', '--json'], environment);
        expect(failed).toMatchObject({ code: 1 });
        expect(failed.stderr.match(/"trying again"/g)).toHaveLength(2);
        expect(jsonOf(failed)).toMatchObject({ streams: [{ kind: 'connection', sqlstate: '08006' }] });
        await killed.restart();
        expect(await folder.run(['ingest', '--json'], environment)).toMatchObject({ code: 0 });

        const gate = await holdState(database.url, nodes[0]!);
        const folding = folder.start(['fold', '--json'], environment);
        await gate.reached();
        await killed.kill();
        await gate.open();
        expect(await folding.finished).toMatchObject({ code: 1 });
        await killed.restart();
        await recoverCluster(database.url);
        expect(await folder.run(['fold', '--json'], environment)).toMatchObject({ code: 0 });
        await expectLoaded('commanded');
        expect(await folder.run(['verify', '--json'], environment)).toMatchObject({ code: 0 });
      },
    );
  });
};
