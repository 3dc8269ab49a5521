/** Flight over TLS: whom the client trusts, and how it shows who it is. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { connectFlight } from '../../src/flight/client.ts';
import type { FlightOptions } from '../../src/flight/client.ts';
import { hasOpenssl, makeCertificates } from './certificates.ts';
import type { Certificates } from './certificates.ts';
import { collect, failureOf, rowsOf } from './collect.ts';

const canRun = hasOpenssl();
if (!canRun) console.warn('SKIPPED: Flight over TLS is not tested here, openssl is missing.');

const ask = async (options: FlightOptions): Promise<number> => {
  const client = connectFlight(options);
  try {
    return rowsOf(await collect(client, 'SELECT * FROM blocks'));
  } finally {
    client.close();
  }
};

describe.runIf(canRun)('TLS', () => {
  let made: Certificates;
  let plain: Devnet;
  let mutual: Devnet;
  beforeAll(async () => {
    made = makeCertificates();
    const chain = createChain({ blocks: 4, accounts: 2, tokens: 1 });
    plain = await startDevnet({ chain, tls: made.server, token: 'abc' });
    mutual = await startDevnet({ chain, tls: { ...made.server, clientCa: made.ca } });
  });
  afterAll(() => Promise.all([plain.stop(), mutual.stop()]));

  test('an own CA as PEM text or as a file is trusted', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pgstrata-ca-'));
    const file = join(directory, 'ca.pem');
    writeFileSync(file, made.ca);
    expect(plain.url).toMatch(/^grpc\+tls:/);
    for (const ca of [made.ca, file])
      expect(await ask({ url: plain.url, token: 'abc', tls: { ca } })).toBe(4);
    rmSync(directory, { recursive: true });
  });

  test('an unknown CA is not trusted', async () => {
    const error = await failureOf(ask({ url: plain.url, token: 'abc' }));
    expect(error).toMatchObject({ kind: 'connection', detail: { grpcStatus: 'UNAVAILABLE' } });
    expect(error.detail.remedy).toContain('certificate');
  });

  test('the server’s name is checked, and can be said', async () => {
    const url = plain.url.replace('127.0.0.1', '127.0.0.2');
    const wrong = { ca: made.ca, serverName: 'other.example' };
    expect((await failureOf(ask({ url: plain.url, token: 'abc', tls: wrong }))).kind).toBe('connection');
    expect(await ask({ url: plain.url, token: 'abc', tls: { ca: made.ca, serverName: 'localhost' } })).toBe(
      4,
    );
    expect((await failureOf(ask({ url, token: 'abc', tls: { ca: made.ca } }))).kind).toBe('connection');
  });

  test('mutual TLS lets in who was signed, and nobody else', async () => {
    const { ca, client, stranger } = made;
    expect(await ask({ url: mutual.url, tls: { ca, ...client } })).toBe(4);
    expect((await failureOf(ask({ url: mutual.url, tls: { ca } }))).kind).toBe('connection');
    expect((await failureOf(ask({ url: mutual.url, tls: { ca, ...stranger } }))).kind).toBe('connection');
  });

  test('plaintext to a TLS server fails as a connection', async () => {
    expect((await failureOf(ask({ url: plain.url.replace('+tls', '') }))).kind).toBe('connection');
  });

  test('unusable certificates are named before anything is sent', async () => {
    const { ca, client, stranger } = made;
    const faults: NonNullable<FlightOptions['tls']>[] = [
      { ca, cert: client.cert },
      { ca, key: client.key },
      { ca: '/nowhere/ca.pem' },
      { ca, cert: client.cert, key: stranger.key },
    ];
    for (const tls of faults) {
      expect((await failureOf(Promise.resolve().then(() => ask({ url: plain.url, tls })))).kind).toBe(
        'config',
      );
    }
  });
});
