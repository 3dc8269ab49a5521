/** A server that streams the simulator's chain, and all that it and the line to it do wrong. */
import { connect, createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import type { BlockRange } from '../../src/chain/range.ts';
import { serveScript, transfersBatch, type Question, type Step } from '../jobs/scripted-server.ts';
import type { Dice, ModelChain } from './model-chain.ts';

/** What goes wrong during one run; 0 is never. */
export interface Mischief {
  /** One microbatch in so many comes twice, or an old one comes again. */
  readonly repeat: number;
  /** One in so many comes before the one it follows. */
  readonly reorder: number;
  /** The head moves or forks after one microbatch in so many. */
  readonly move: number;
  /** One message in so many is the last: the call fails, or ends as if all were well. */
  readonly cut: number;
  /** Bytes after which the line breaks; null for never. */
  readonly bytes: number | null;
}

/** Nothing goes wrong. */
export const PEACE: Mischief = { repeat: 0, reorder: 0, move: 0, cut: 0, bytes: null };

/** Mischief of some kinds, others not. */
export const drawMischief = (dice: Dice): Mischief => ({
  repeat: dice(2) * (2 + dice(5)),
  reorder: dice(4) === 0 ? 3 + dice(8) : 0,
  move: dice(2) * (2 + dice(6)),
  cut: dice(3) === 0 ? 2 + dice(30) : 0,
  bytes: dice(5) === 0 ? dice(30_000) : null,
});

/** Microbatches of a call among which the head moves: behind them the chain stands still, so that every call ends. */
const MOVES_WITHIN = 20;

/** A server of one chain, reached through a line that can break. */
export interface SimulatedServer {
  readonly url: string;
  /** What goes wrong from now on. */
  play(mischief: Mischief): void;
  stop(): void;
}

const messagesOf = (chain: ModelChain, range: BlockRange, dice: Dice): Step[] => {
  const transfers = chain.blocks.slice(range.start, range.end + 1).flatMap((block) => block.transfers);
  const empty = (complete: boolean): Step => ({ batch: transfersBatch([]), ranges: [range], complete });
  const steps: Step[] = [];
  for (let at = 0; at < transfers.length;) {
    if (dice(5) === 0) steps.push(empty(false));
    const size = 1 + dice(transfers.length);
    steps.push({ batch: transfersBatch(transfers.slice(at, at + size)), ranges: [range] });
    at += size;
  }
  if (dice(5) === 0) steps.push(empty(false));
  return [...steps, empty(true)];
};

/** Serves `chain`; `head` is told to whoever asks for it. */
export const serveChain = async (chain: ModelChain, dice: Dice): Promise<SimulatedServer> => {
  let mischief = PEACE;
  const head: BlockRange[] = [];
  const oneIn = (chance: number): boolean => chance > 0 && dice(chance) === 0;
  const move = (): void => {
    if (dice(2) === 0) chain.grow(1 + dice(5));
    else chain.fork(1 + dice(dice(4) === 0 ? 64 : 6), dice(4));
    tellHead();
  };
  const tellHead = (): void => {
    head.splice(0, 1, chain.range(0, chain.blocks.length - 1));
  };

  /** Microbatches from behind `resume` to the head, in the order and as often as the mischief wants. */
  function* microbatches(resume: Question['resume']): Generator<Step[], void, undefined> {
    const size = dice(5) === 0 ? 1 + dice(3) : 4 + dice(60);
    const sent: BlockRange[] = [];
    let position = resume?.[chain.network] ?? null;
    for (let count = 0; ; count += 1) {
      const start = chain.nextStart(position);
      if (start >= chain.blocks.length) return;
      const range = chain.range(start, Math.min(start + dice(size), chain.blocks.length - 1));
      const next = range.end + 1;
      // The first of a fork, or of all, stays the first: swapped, it would tell of another fork, or of a chain that begins later.
      const isFirst = start <= (position?.number ?? 0);
      if (!isFirst && next < chain.blocks.length && oneIn(mischief.reorder)) {
        yield messagesOf(chain, chain.range(next, next), dice);
      }
      yield messagesOf(chain, range, dice);
      position = { number: range.end, hash: range.hash };
      sent.push(range);
      if (count < MOVES_WITHIN && oneIn(mischief.move)) move();
      const old = sent[sent.length - 1 - dice(Math.min(3, sent.length))]!;
      if (oneIn(mischief.repeat) && chain.blocks[old.end]?.hash === old.hash)
        yield messagesOf(chain, chain.range(old.start, old.end), dice);
    }
  }

  function* script({ resume }: Question): Generator<Step, void, undefined> {
    for (const steps of microbatches(resume)) {
      for (const step of steps) {
        if (oneIn(mischief.cut)) {
          if (dice(3) > 0) yield { fail: 'UNAVAILABLE' };
          return;
        }
        yield step;
      }
    }
    yield { wait: 'for ever' };
  }

  const server = await serveScript(head, script);
  const target = Number(new URL(server.url.replace('grpc:', 'http:')).port);
  const line = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: target, host: '127.0.0.1', noDelay: true });
    let left = mischief.bytes ?? Infinity;
    upstream.on('data', (bytes) => {
      client.write(bytes.subarray(0, Math.min(left, bytes.length)));
      left -= bytes.length;
      if (left < 0) client.destroy();
    });
    client.on('data', (bytes) => upstream.write(bytes));
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => undefined); // a broken line is what was asked for
      one.on('close', () => other.destroy());
    }
  }).listen(0, '127.0.0.1');
  await once(line, 'listening');
  return {
    url: `grpc://127.0.0.1:${(line.address() as AddressInfo).port}`,
    play: (next) => {
      mischief = next;
      tellHead();
    },
    stop: () => {
      server.stop();
      line.close();
    },
  };
};
