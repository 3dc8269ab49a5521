/** Asks a page server as programs and browsers do; the Host header is free to choose. */
import { request } from 'node:http';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';

/** What came back. */
export interface Answered {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

/** How to ask. */
export interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** One question. */
export const askPage = async (
  base: string,
  path: string,
  { method = 'GET', headers = {}, body }: Asked = {},
): Promise<Answered> => {
  const asking = request(new URL(base), { path, method, headers, agent: false });
  asking.end(body);
  const [response] = (await once(asking, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    text: Buffer.concat(chunks).toString(),
  };
};

/** The JSON of an answer. */
export const jsonAt = async (base: string, path: string): Promise<unknown> =>
  JSON.parse((await askPage(base, path)).text);

/** An open stream of events. */
export interface Events {
  /** The next event of this name. */
  next(name: string): Promise<unknown>;
  /** Resolves when the server has ended it. */
  readonly ended: Promise<unknown>;
}

/** Opens `/events`. */
export const openEvents = async (base: string): Promise<Events> => {
  const asking = request(new URL(base), { path: '/events', agent: false });
  asking.end();
  const [response] = (await once(asking, 'response')) as [IncomingMessage];
  const ended = once(response, 'end');
  const lines = createInterface({ input: response })[Symbol.asyncIterator]();
  const line = async (): Promise<string> => {
    const { value, done } = (await lines.next()) as { value: string; done?: boolean };
    if (done === true) throw new Error('the events have ended');
    return value;
  };
  return {
    ended,
    next: async (name) => {
      for (;;) {
        if ((await line()) === `event: ${name}`) return JSON.parse((await line()).slice('data: '.length));
      }
    },
  };
};
