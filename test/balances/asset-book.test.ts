/** The ids of assets that a process remembers are those of their keys, whatever was asked before. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { assetId, createAssetBook } from '../../src/warehouse/assets.ts';
import { accountText } from '../../src/warehouse/account.ts';
import { propertyOptions } from '../seed.ts';

/** Keys that are met again, and end alike. */
const key = fc
  .tuple(
    fc.array(fc.constantFrom(0, 97, 255), { maxLength: 2 }),
    fc.constantFrom([1], [97, 97], [1, 2, 3, 4], [255, 2, 3, 4]),
  )
  .map(([begin, end]) => [...begin, ...end]);
const asked = fc.record({
  key,
  network: fc.constantFrom('mainnet', 'base'),
  tokenId: fc.constantFrom(null, null, '1', '2'),
});

test('an id depends on nothing but network, key and token', () => {
  fc.assert(
    fc.property(fc.array(asked, { minLength: 1, maxLength: 200 }), (questions) => {
      const book = createAssetBook('erc20');
      // One buffer that is written again and again, as those of a stream are.
      const buffer = Buffer.alloc(16);
      const met = new Set<string>();
      for (const { key: bytes, network, tokenId } of questions) {
        buffer.fill(7);
        buffer.set(bytes, 3);
        const natural = {
          network,
          standard: 'erc20',
          assetKey: accountText(Uint8Array.from(bytes)),
          tokenId,
        };
        expect(book.idOf(network, buffer, 3, 3 + bytes.length, tokenId, true)).toEqual(assetId(natural));
        met.add(JSON.stringify(natural));
      }
      const told = book
        .takeNew()
        .map(({ network, standard, assetKey, tokenId }) =>
          JSON.stringify({ network, standard, assetKey, tokenId }),
        );
      expect(told.toSorted()).toEqual([...met].toSorted());
    }),
    propertyOptions(100),
  );
});
