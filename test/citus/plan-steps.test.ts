/** What `plan-topology --steps` prints, done as printed: from one server to a cluster, by copying and by loading again. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet, type Devnet } from '../../src/devnet/server.ts';
import { verifyBalances } from '../../src/warehouse/verify.ts';
import { WAYS } from '../../src/warehouse/scaling/migration.ts';
import type { MigrationStep } from '../../src/warehouse/scaling/migration-step.ts';
import { planTopology } from '../../src/warehouse/scaling/read.ts';
import { openFolder, type Folder } from '../cli/command.ts';
import { useDatabase } from '../database.ts';
import { TRANSFERS } from '../jobs/loading.ts';
import { expectChain } from '../jobs/oracle.ts';
import { databaseUrl } from '../postgres.ts';
import { clusterUrl, createCluster, onCluster, onNodes, SHARDS, workersOf } from './cluster.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/bin.ts');
const source = clusterUrl().url === undefined ? null : useDatabase();

await onCluster('the steps of the plan', () => {
  const home = clusterUrl().url ?? '';
  const chain = createChain({
    accounts: 40,
    tokens: 3,
    transfersPerBlock: 10,
    blocks: 120,
    blockSeconds: 21_600,
    seed: 11,
  });
  const made: string[] = [];
  let folder: Folder;
  let devnet: Devnet;

  beforeAll(async () => {
    devnet = await startDevnet({ chain, microbatchBlocks: 10 });
    folder = await openFolder();
    const policy = {
      servers: { devnet: { url: devnet.url } },
      streams: { moved: { ...TRANSFERS, server: 'devnet' } },
    };
    await folder.writePolicy(policy);
    await writeFile(
      join(folder.path, 'citus.yaml'),
      JSON.stringify({ ...policy, topology: 'citus', shards: SHARDS }),
    );
    await writeFile(join(folder.path, 'pgstrata'), `#!/bin/sh\nexec "${process.execPath}" "${MAIN}" "$@"\n`);
    await chmod(join(folder.path, 'pgstrata'), 0o755);
    expect(await folder.run(['ingest'], { DATABASE_URL: source!.url })).toMatchObject({ code: 0 });
  }, 120_000);
  afterAll(async () => {
    await devnet.stop();
    await folder.remove();
    const workers = await workersOf(home);
    for (const name of made)
      await onNodes(home, workers, (client) => client.query(`drop database if exists ${name} with (force)`));
  });

  const openCluster = async (): Promise<string> => {
    const name = `strata_plan_${randomBytes(4).toString('hex')}`;
    made.push(name);
    await createCluster(home, name, await workersOf(home));
    return databaseUrl(home, name);
  };
  /** As a user with bash does it; what would follow the stream for ever is run to its end. */
  const bash = async (lines: readonly string[], cluster: string): Promise<string> => {
    const text = lines
      .join('\n')
      .replaceAll(' --follow', '')
      .replaceAll('WEEKS_THAT_DIFFER', '')
      .replaceAll(/^.*pgstrata schedule.*$/gm, '');
    const { stdout } = await promisify(execFile)('bash', ['-c', `set -euo pipefail\n${text}`], {
      cwd: folder.path,
      env: {
        ...process.env,
        SOURCE: source!.url,
        DATABASE_URL: source!.url,
        CLUSTER: cluster,
        PGTZ: 'UTC',
        PATH: `${folder.path}${delimiter}${process.env['PATH']}`,
      },
    });
    return stdout;
  };
  const ask = (side: string, statements: readonly string[], cluster: string): Promise<string> =>
    bash(
      statements.map((statement) => `psql "$${side}" -XAtc "${statement.replaceAll(/["\\$`]/g, '\\$&')}"`),
      cluster,
    );
  const follow = async ({ where, run, verify }: MigrationStep, cluster: string): Promise<void> => {
    if (where === 'shell') await bash(run, cluster);
    else await ask(where === 'source' ? 'SOURCE' : 'CLUSTER', run, cluster);
    if (verify?.expect.startsWith('the same on both sides') === true)
      expect(await ask('CLUSTER', verify.run, cluster), verify.run.join('; ')).toBe(
        await ask('SOURCE', verify.run, cluster),
      );
  };
  const planned = async (way: (typeof WAYS)[number]): Promise<readonly MigrationStep[]> => {
    const machine = { cores: 2, memory_bytes: 8e9, disk_bytes: 1e12 };
    const plan = await planTopology(source!.pool, machine, { now: new Date(), weeks: 52, times: 1 }, way);
    if (plan.topology !== 'single') throw new Error('the source is a cluster');
    return plan.migration;
  };

  describe('to a cluster', () => {
    test.each(WAYS)('by %s ends in the same tables', { timeout: 180_000 }, async (way) => {
      const cluster = await openCluster();
      // The cluster is there: the first two steps made it.
      for (const step of (await planned(way)).slice(2)) await follow(step, cluster);
      const digests = (await planned('copy')).flatMap(({ verify }) =>
        (verify?.run ?? []).filter((statement) => statement.includes('hashtextextended')),
      );
      expect(digests.length).toBeGreaterThan(0);
      for (const digest of digests)
        expect(await ask('CLUSTER', [digest], cluster)).toBe(await ask('SOURCE', [digest], cluster));
      const pool = createPool(cluster, { applicationName: 'pgstrata test' });
      try {
        await expectChain(pool, 'moved', chain);
        expect(await verifyBalances(pool, { oneIn: 1 })).toMatchObject({ differences: 0 });
      } finally {
        await pool.end();
      }
    });
  });
});
