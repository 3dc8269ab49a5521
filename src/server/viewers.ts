/** Server-sent events: each viewer gets every section of the board at once, and what changes from then on. */
import type { ServerResponse } from 'node:http';
import type { Board } from './board.ts';

/** The open streams. */
export interface Viewers {
  /** Opens one on a response, whose headers are set already; false when there are too many. */
  open(response: ServerResponse): boolean;
  close(): void;
}

/** Viewers at a time. */
const VIEWERS_MAX = 100;

/** What may wait for a slow viewer; one that is further behind is hung up on, and comes again by itself. */
const BEHIND_BYTES_MAX = 16 * 1024 * 1024;

/** Proxies hang up on what is silent. */
const HEARTBEAT_MS = 15_000;

/** How soon a browser that lost us tries again. */
const RETRY_MS = 2000;

/** The viewers of `board`. */
export const createViewers = (board: Board): Viewers => {
  const streams = new Set<ServerResponse>();
  const send = (response: ServerResponse, text: string): void => {
    if (response.writableLength > BEHIND_BYTES_MAX) response.destroy();
    else response.write(text);
  };
  const heart = setInterval(() => {
    for (const stream of streams) send(stream, ': still here\n\n');
  }, HEARTBEAT_MS);
  heart.unref();
  return {
    open: (response) => {
      if (streams.size >= VIEWERS_MAX) return false;
      response.writeHead(200, { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' });
      response.write(`retry: ${RETRY_MS}\n\n`);
      streams.add(response);
      const leave = board.watch((event, json) => send(response, `event: ${event}\ndata: ${json}\n\n`));
      response.once('close', () => {
        streams.delete(response);
        leave();
      });
      return true;
    },
    close: () => {
      clearInterval(heart);
      for (const stream of streams) stream.end();
    },
  };
};
