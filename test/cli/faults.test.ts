/** What users get wrong, from the outside: the cause by name, a remedy, the right exit code, no secret, nothing half done. */
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { TRANSFERS } from '../jobs/loading.ts';
import { fingerprint, openTransactions } from '../jobs/oracle.ts';
import { jsonOf, openFolder } from './command.ts';
import type { Finished, Folder } from './command.ts';

const database = useDatabase();
const TOKEN = 'tok_5ecr3t-of-the-server';
const WRONG_TOKEN = 'tok_5ecr3t-that-is-wrong';
const PASSWORD = 'p4ss-5ecr3t';

let folder: Folder;
let devnet: Devnet;
beforeAll(async () => {
  folder = await openFolder();
  devnet = await startDevnet({ chain: createChain({ blocks: 5, accounts: 4, tokens: 2 }), token: TOKEN });
});
afterAll(async () => {
  await folder.remove();
  await devnet.stop();
});

const STREAM = { ...TRANSFERS, server: 'devnet' };
const policy = (server: object = {}, stream: object = {}): unknown => ({
  servers: { devnet: { url: devnet.url, token: TOKEN, ...server } },
  streams: { transfers: { ...STREAM, ...stream } },
  retry: { tries: 1 },
});

/** A fault: the command, its policy and environment, and what must come of it. */
interface Fault {
  readonly args?: readonly string[];
  readonly policy?: () => unknown;
  readonly environment?: () => NodeJS.ProcessEnv;
  readonly code: number;
  readonly says: RegExp;
  /** What the remedy is about. */
  readonly remedy: RegExp;
}

const databaseUrlWith = (change: (url: URL) => void): string => {
  const url = new URL(database.url);
  change(url);
  return url.toString();
};

const FAULTS: Readonly<Record<string, Fault>> = {
  'a Flight server that is not there': {
    policy: () => policy({ url: 'grpc://127.0.0.1:1' }),
    code: 1,
    says: /127\.0\.0\.1:1 .*UNAVAILABLE/,
    remedy: /Flight server runs at this address/,
  },
  'a wrong token': {
    policy: () => policy({ token: WRONG_TOKEN }),
    code: 1,
    says: /UNAUTHENTICATED/,
    remedy: /token/,
  },
  'no token': {
    policy: () => policy({ token: undefined }),
    code: 1,
    says: /UNAUTHENTICATED/,
    remedy: /token/,
  },
  'plaintext to another machine': {
    policy: () => policy({ url: 'grpc://flight.example:1602' }),
    code: 2,
    says: /flight\.example:1602.*unencrypted/,
    remedy: /grpc\+tls/,
  },
  'a query the server refuses': {
    policy: () => policy({}, { query: 'SELECT nonsense FROM transfers' }),
    code: 1,
    says: /INVALID_ARGUMENT.*nonsense/,
    remedy: /query/,
  },
  'a mapping to columns that are not there': {
    policy: () => policy({}, { rules: ['buyer:+price'] }),
    code: 2,
    says: /no column buyer, price/,
    remedy: /log_index/,
  },
  'a stream that is not configured': {
    args: ['ingest', 'transfer'],
    code: 2,
    says: /no stream transfer/,
    remedy: /has transfers/,
  },
  'a span that ends before it starts': {
    args: ['ingest', '--from', '9', '--to', '9'],
    code: 2,
    says: /--to 9 is not behind --from 9/,
    remedy: /--to/,
  },
  'no streams at all': { policy: () => ({}), code: 2, says: /no streams/, remedy: /pgstrata\.yaml/ },
  'a policy file that is not there': {
    args: ['ingest', '-c', 'elsewhere.yaml'],
    code: 2,
    says: /elsewhere\.yaml/,
    remedy: /--config/,
  },
  'an environment variable that is not set': {
    policy: () => policy({ token: '${NOT_SET_ANYWHERE}' }),
    code: 2,
    says: /servers\.devnet\.token: environment variable NOT_SET_ANYWHERE is not set/,
    remedy: /Mend the file/,
  },
  'YAML that cannot be read, on the line of the token': {
    policy: () => `servers:\n  devnet: { url: "${devnet.url}", token: "${TOKEN}" ]\n`,
    code: 2,
    says: /line 2/,
    remedy: /Mend the file/,
  },
  'a token that YAML takes for an alias': {
    policy: () => `servers:\n  devnet:\n    url: "${devnet.url}"\n    token: *${TOKEN}\n`,
    code: 2,
    says: /alias/,
    remedy: /Mend the file/,
  },
  'a database host that does not answer': {
    environment: () => ({ DATABASE_URL: `postgres://me:${PASSWORD}@127.0.0.1:1/none` }),
    code: 1,
    says: /ECONNREFUSED/,
    remedy: /host and the port/,
  },
  'a database host that does not exist': {
    environment: () => ({
      DATABASE_URL: `postgres://me:${PASSWORD}@no-such-host.invalid/none?sslmode=disable`,
    }),
    code: 1,
    says: /no-such-host\.invalid/,
    remedy: /host and the port/,
  },
  'a wrong password': {
    environment: () => ({ DATABASE_URL: databaseUrlWith((url) => (url.password = PASSWORD)) }),
    code: 1,
    says: /password authentication failed/,
    remedy: /password in DATABASE_URL/,
  },
  'no such database': {
    environment: () => ({ DATABASE_URL: databaseUrlWith((url) => (url.pathname = '/no_such_database')) }),
    code: 2,
    says: /no_such_database\W+ does not exist/,
    remedy: /Create the database/,
  },
  'a database URL that is none': {
    environment: () => ({ DATABASE_URL: `db.example me ${PASSWORD}` }),
    code: 2,
    says: /database URL cannot be read/,
    remedy: /postgres:\/\/user:password@host/,
  },
  'a database without TLS on another machine': {
    environment: () => ({ DATABASE_URL: `postgres://me:${PASSWORD}@db.example/none` }),
    code: 2,
    says: /db\.example would not be encrypted/,
    remedy: /sslmode/,
  },
};

/** The remedy, wherever it is told. */
const remedyOf = (finished: Finished, json: boolean): string =>
  json
    ? String((JSON.parse(finished.stderr) as { remedy?: unknown }).remedy)
    : (/remedy: (.*)/.exec(finished.stderr)?.[1] ?? '');

describe('told with its remedy, in turn as text and as JSON:', () => {
  test.each(Object.entries(FAULTS).map(([name, fault], index) => [name, fault, index % 2 === 1] as const))(
    '%s',
    async (_, fault, json) => {
      const here = await openFolder();
      try {
        await here.writePolicy(fault.policy?.() ?? policy());
        const before = await fingerprint(database.pool);
        const finished = await here.run(
          [...(fault.args ?? ['ingest']), ...(json ? ['--json'] : [])],
          fault.environment?.() ?? { DATABASE_URL: database.url },
        );
        const everything = finished.stdout + finished.stderr;
        expect(finished.code, everything).toBe(fault.code);
        expect(finished.stderr).toMatch(fault.says);
        expect(remedyOf(finished, json)).toMatch(fault.remedy);
        expect(everything).not.toMatch(/5ecr3t/);
        expect(everything).not.toMatch(/\n {4}at /); // no stack
        if (json && finished.stdout !== '') jsonOf(finished);
        expect(await fingerprint(database.pool)).toEqual(before);
        expect(await openTransactions(database.pool)).toEqual([]);
      } finally {
        await here.remove();
      }
    },
  );
});

describe('several faults of a policy file', () => {
  test('are told all at once, each with its path', async () => {
    await folder.writePolicy({
      servers: { a: { url: 'localhost:1602', tokn: 'x' } },
      streams: {
        's 1': { load: 'transfers' },
        s2: { server: 'b', load: 'rows', query: 'SELECT 1 SETTINGS stream = true', table: 'a.b.c' },
        s3: { server: 'a', load: 'dance', query: 'x' },
      },
      partitions: { balance_changes: { retain: 'for ever' } },
      databse: {},
    });
    const { code, stderr } = await folder.run(['status'], { DATABASE_URL: database.url });
    expect(code).toBe(2);
    for (const path of [
      'servers.a.url: ',
      'servers.a.tokn: .*token',
      'streams.s 1: must be 1 to 63 letters',
      'streams.s2.query: ',
      'streams.s2.table: ',
      'streams.s3.load: ',
      'partitions.balance_changes.retain: ',
      'databse: .*database',
    ]) {
      expect(stderr).toMatch(new RegExp(`  - ${path}`));
    }
    expect(stderr).toMatch(/has \d+ faults/);
  });
});

describe('one failing stream beside others', () => {
  test('is told beside their results, as text and as JSON; no secret in either', async () => {
    await folder.writePolicy({
      servers: { devnet: { url: devnet.url, token: TOKEN }, other: { url: devnet.url, token: WRONG_TOKEN } },
      streams: { sound: STREAM, broken: { ...STREAM, server: 'other' } },
    });
    const json = await folder.run(['ingest', '--json'], { DATABASE_URL: database.url });
    expect(json.code).toBe(1);
    expect(jsonOf(json)).toMatchObject({
      streams: [
        { stream: 'sound', end: 'complete' },
        { stream: 'broken', kind: 'auth', grpcStatus: 'UNAUTHENTICATED' },
      ],
    });
    expect(JSON.parse(json.stderr)).toMatchObject({ kind: 'auth', stream: 'broken' });
    const text = await folder.run(['ingest'], { DATABASE_URL: database.url });
    expect(text).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/sound +nothing new/) as string,
      stderr: expect.stringMatching(/UNAUTHENTICATED[^]*remedy/) as string,
    });
    expect(json.stdout + json.stderr + text.stdout + text.stderr).not.toMatch(/5ecr3t/);
  });
});

describe('a port that is taken', () => {
  let squatter: Server;
  beforeAll(async () => {
    squatter = createServer();
    await new Promise<void>((resolve) => {
      squatter.listen(0, '127.0.0.1', resolve);
    });
  });
  afterAll(() => squatter.close());

  test('is told by devnet', async () => {
    const { port } = squatter.address() as AddressInfo;
    const { code, stderr, stdout } = await folder.run(['devnet', '--port', String(port), '--blocks', '1']);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(new RegExp(`cannot listen on .*:${port}`));
    expect(stderr).toMatch(/remedy: Choose another port/);
  });
});
