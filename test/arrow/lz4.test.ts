/** Tests of the LZ4 frame decoder against frames of the reference tool (`lz4 -z`, version 1.9). */
import { describe, expect, it } from 'vitest';

import { decodeLz4Frame } from '../../src/arrow/lz4.ts';

const TEXT = 'abcabcabcabcabcabcabcabcabcabcabcabc0123456789, and the same again: abcabcabcabc0123456789';

const FRAMES = {
  'content size, dependent blocks':
    'BCJNGGxAWgAAAAAAAAAxNgAAAD9hYmMDAA74ETAxMjM0NTY3ODksIGFuZCB0aGUgc2FtZSBhZ2FpbjogQQCgMDEyMzQ1Njc4OQAAAADO1RcF',
  'block checksums':
    'BCJNGHRAvTYAAAA/YWJjAwAO+BEwMTIzNDU2Nzg5LCBhbmQgdGhlIHNhbWUgYWdhaW46IEEAoDAxMjM0NTY3ODlZ+OseAAAAAM7VFwU=',
};

const frame = (name: keyof typeof FRAMES): Buffer => Buffer.from(FRAMES[name], 'base64');

describe('LZ4 frames', () => {
  it.each(Object.keys(FRAMES) as (keyof typeof FRAMES)[])('%s', (name) => {
    expect(Buffer.from(decodeLz4Frame(frame(name))).toString()).toBe(TEXT);
  });

  it('matches may reach into the block before', () => {
    // "abcd" stored; then a block: no literals, a match of 8 from 4 back, and the last literal "!".
    const bytes = Buffer.from('04224d186040820400008061626364050000000404001021', 'hex');
    const frame = Buffer.concat([bytes, Buffer.alloc(4)]);
    expect(Buffer.from(decodeLz4Frame(frame)).toString()).toBe('abcdabcdabcd!');
  });

  it('every cut is an error', () => {
    const whole = frame('content size, dependent blocks');
    // The last four bytes are the content's checksum, which is passed over.
    for (let length = 0; length < whole.length - 4; length++)
      expect(() => decodeLz4Frame(whole.subarray(0, length))).toThrow(/corrupt LZ4 frame/);
  });

  it('a match before the start is an error', () => {
    const bytes = Buffer.from('04224d1860408203000000040900', 'hex');
    expect(() => decodeLz4Frame(Buffer.concat([bytes, Buffer.alloc(4)]))).toThrow(/before the start/);
  });

  it('a wrong size is an error', () => {
    const bytes = frame('content size, dependent blocks');
    bytes[6] = 91;
    expect(() => decodeLz4Frame(bytes)).toThrow(/size it promised/);
  });
});
