/** The stream protocol: each rule of the state machine's doc comment, on hand-made ranges. */
import { describe, expect, it } from 'vitest';
import {
  cutTail,
  protocolStart,
  protocolStep,
  type LedgerTail,
  type ProtocolState,
} from '../../src/chain/protocol.ts';
import type { BlockRange } from '../../src/chain/range.ts';

const range = (start: number, end: number, fork = 'a', parentFork = fork): BlockRange => ({
  network: 'net',
  start,
  end,
  hash: `0x${fork}${end}`,
  prevHash: start === 0 ? null : `0x${parentFork}${start - 1}`,
  timestamp: null,
});

const behind = (...tail: BlockRange[]): ProtocolState =>
  protocolStart(new Map<string, LedgerTail>([['net', tail]]));
const whole = (state: ProtocolState, incoming: BlockRange) =>
  protocolStep(state, { ranges: [incoming], complete: true });

describe('a microbatch', () => {
  it('is loaded by its messages and committed by the one that completes it', () => {
    const first = protocolStep(behind(), { ranges: [range(0, 9)], complete: false });
    expect(first).toMatchObject({ load: true, watermark: null, reorgs: [], notReady: false });
    const last = protocolStep(first.state, { ranges: [range(0, 9)], complete: true });
    expect(last.watermark).toEqual([range(0, 9)]);
    expect(last.state.tails.get('net')).toEqual([range(0, 9)]);
  });

  it('may not change its ranges before it is complete', () => {
    const first = protocolStep(behind(), { ranges: [range(0, 9)], complete: false });
    expect(() => protocolStep(first.state, { ranges: [range(10, 19)], complete: false })).toThrow(
      /changes its ranges/,
    );
  });

  it('that was loaded before is recognised by all its messages, not only by the last', () => {
    const first = protocolStep(behind(range(0, 9)), { ranges: [range(0, 9)], complete: false });
    expect(first.load).toBe(false);
    const last = protocolStep(first.state, { ranges: [range(0, 9)], complete: true });
    expect(last).toMatchObject({ load: false, watermark: null });
    expect(last.state.tails.get('net')).toEqual([range(0, 9)]);
  });
});

describe('the next range', () => {
  it('follows its parent', () => {
    expect(whole(behind(range(0, 9)), range(10, 19)).watermark).toEqual([range(10, 19)]);
  });

  it('is refused when it leaves a gap', () => {
    expect(() => whole(behind(range(0, 9)), range(11, 19))).toThrow(/gap/);
  });

  it('is refused when its parent is another block', () => {
    expect(() => whole(behind(range(0, 9)), range(10, 19, 'b'))).toThrow(/does not follow/);
  });

  it('is refused when it goes back yet names the head as its parent', () => {
    const odd = { ...range(5, 12), prevHash: '0xa9' };
    expect(() => whole(behind(range(0, 9)), odd)).toThrow(/goes back/);
  });

  it('is refused when it ends before it starts', () => {
    expect(() => whole(behind(), { ...range(5, 9), end: 4 })).toThrow(/ends before/);
  });
});

describe('a reorg', () => {
  it('is a range that starts at or before the end of what is loaded', () => {
    const step = whole(behind(range(0, 9), range(10, 19)), range(10, 20, 'b', 'a'));
    expect(step.reorgs).toEqual([range(10, 20, 'b', 'a')]);
    expect(step.load).toBe(true);
    expect(step.state.tails.get('net')).toEqual([range(0, 9), range(10, 20, 'b', 'a')]);
  });

  it('that starts inside a range keeps the blocks before it', () => {
    const step = whole(behind(range(0, 9)), range(4, 11, 'b', 'a'));
    expect(step.state.tails.get('net')).toEqual([{ ...range(0, 3) }, range(4, 11, 'b', 'a')]);
  });

  it('is recognised by the first message after a restart', () => {
    const restarted = behind(range(0, 9), range(10, 19));
    expect(
      protocolStep(restarted, { ranges: [range(19, 19, 'b', 'a')], complete: false }).reorgs,
    ).toHaveLength(1);
  });

  it('is refused when the block before it is not the one that was loaded', () => {
    expect(() => whole(behind(range(0, 9), range(10, 19)), range(10, 20, 'b'))).toThrow(/deeper/);
  });

  it('cuts the tail at its start', () => {
    expect(cutTail([range(0, 9), range(10, 19), range(20, 29)], range(15, 15, 'b', 'a'))).toEqual([
      range(0, 9),
      range(10, 14),
    ]);
  });
});

describe('several networks', () => {
  const other = (start: number, end: number): BlockRange => ({ ...range(start, end), network: 'other' });

  it('each have a position of their own', () => {
    const step = protocolStep(behind(range(0, 9)), {
      ranges: [range(10, 19), other(100, 104)],
      complete: true,
    });
    expect(step.state.tails.get('other')).toEqual([other(100, 104)]);
  });

  it('may not mix a replay on one with news on another', () => {
    expect(() =>
      protocolStep(behind(range(0, 9)), { ranges: [range(0, 9), other(0, 1)], complete: true }),
    ).toThrow(/repeats/);
  });
});

describe('a server that is not ready', () => {
  it('says so with no ranges, which is never a position', () => {
    expect(protocolStep(behind(), { ranges: [], complete: true })).toMatchObject({
      notReady: true,
      watermark: null,
      load: false,
    });
  });

  it('may not say so inside a microbatch', () => {
    const first = protocolStep(behind(), { ranges: [range(0, 9)], complete: false });
    expect(() => protocolStep(first.state, { ranges: [], complete: true })).toThrow(/without block ranges/);
  });
});
