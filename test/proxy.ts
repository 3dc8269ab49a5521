/** A TCP proxy that spoils connections as bad networks do: slow, in crumbs, cut, reset, or silent without a word. */
import { createServer, connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** What is done to one connection; nothing where a field is absent. */
export interface Spoil {
  /** Before each piece, in milliseconds. */
  readonly latency_ms?: number;
  /** Largest piece that is passed on at once; 1 to 7 makes crumbs of everything. */
  readonly pieceBytes?: (() => number) | undefined;
  readonly bytesPerSecond?: number;
  /** When so many bytes have passed, both ways together, this is what becomes of it. */
  readonly after?: { readonly bytes: number; readonly what: 'cut' | 'reset' | 'silence' };
  /** Looks at what the client sends; `lose answer` passes it on and resets instead of answering, `lose request` does not pass it on. */
  readonly judge?: (sent: Buffer) => 'lose answer' | 'lose request' | null;
}

/** A running proxy. */
export interface Proxy {
  readonly port: number;
  /** Connections so far. */
  readonly connections: () => number;
  /** Resets all connections there are. */
  readonly resetAll: () => void;
  readonly stop: () => Promise<void>;
}

/** The same address behind the proxy. */
export const through = (proxy: Proxy, url: string): string => {
  const other = new URL(url);
  other.hostname = '127.0.0.1';
  other.port = String(proxy.port);
  return other.toString().replace(/\/$/, '');
};

const piecesOf = function* (chunk: Buffer, { pieceBytes }: Spoil): Generator<Buffer, void, undefined> {
  for (let at = 0; at < chunk.length;) {
    const size = pieceBytes?.() ?? chunk.length;
    yield chunk.subarray(at, at + size);
    at += size;
  }
};

/** Writes and waits for room. */
const write = (to: Socket, piece: Buffer): Promise<void> =>
  new Promise((resolve) => {
    to.write(piece, () => resolve());
  });

interface Link {
  readonly client: Socket;
  readonly server: Socket;
}

const reset = ({ client, server }: Link): void => {
  client.resetAndDestroy();
  server.resetAndDestroy();
};

/** One connection with its fate. */
const link = (client: Socket, server: Socket, spoil: Spoil): Link => {
  const both = { client, server };
  let passed = 0;
  let silent = false;
  let loseAnswer = false;
  const end = (): void => {
    if (spoil.after?.what === 'reset') reset(both);
    else if (spoil.after?.what === 'silence') silent = true;
    else {
      client.destroy();
      server.destroy();
    }
  };
  const pump = async (from: Socket, to: Socket): Promise<void> => {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      const verdict = from === client ? (spoil.judge?.(chunk) ?? null) : null;
      if (verdict === 'lose answer') loseAnswer = true;
      if (verdict === 'lose request' || (loseAnswer && from === server)) {
        reset(both);
        return;
      }
      for (const piece of piecesOf(chunk, spoil)) {
        if (spoil.latency_ms !== undefined) await delay(spoil.latency_ms);
        if (spoil.bytesPerSecond !== undefined) await delay((piece.length / spoil.bytesPerSecond) * 1000);
        const room = spoil.after === undefined ? Infinity : spoil.after.bytes - passed;
        passed += piece.length;
        if (silent) continue; // taken, and never passed on
        await write(to, piece.subarray(0, Math.max(0, room)));
        if (passed >= (spoil.after?.bytes ?? Infinity)) end();
      }
    }
    if (!silent) to.end();
  };
  for (const socket of [client, server]) socket.on('error', () => undefined).setNoDelay(true);
  client.on('close', () => server.destroy());
  server.on('close', () => silent || client.destroy());
  pump(client, server).catch(() => undefined);
  pump(server, client).catch(() => undefined);
  return both;
};

/**
 * Starts a proxy before a TCP server.
 *
 * @param spoilOf what becomes of the connection of this number; the first is 0
 */
export const startProxy = async (
  target: { readonly host?: string; readonly port: () => number },
  spoilOf: (connection: number) => Spoil,
): Promise<Proxy> => {
  const links = new Set<Link>();
  let count = 0;
  const listener = createServer((client) => {
    const server = connect({ host: target.host ?? '127.0.0.1', port: target.port() });
    const made = link(client, server, spoilOf(count++));
    links.add(made);
    client.on('close', () => links.delete(made));
  });
  await new Promise<void>((resolve) => {
    listener.listen(0, '127.0.0.1', resolve);
  });
  const resetAll = (): void => {
    for (const one of links) reset(one);
  };
  return {
    port: (listener.address() as AddressInfo).port,
    connections: () => count,
    resetAll,
    stop: () =>
      new Promise((resolve) => {
        listener.close(() => resolve());
        resetAll();
      }),
  };
};
