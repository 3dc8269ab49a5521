/** Asset standards in the policy file: known ones, own ones, and misspelt ones, which would make every asset anew. */
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/runtime/config.ts';

const policyOf = (standard: string): string => `
servers: { chain: { url: "grpc://127.0.0.1:1602" } }
streams:
  transfers: { server: chain, load: transfers, query: SELECT 1, standard: "${standard}" }`;

describe('an asset standard', () => {
  test.each(['erc20', 'erc721', 'native', 'activity', 'spl', 'loyalty points'])('%s is taken', (standard) => {
    expect(parseConfig(policyOf(standard), {}).streams['transfers']).toMatchObject({ standard });
  });

  test.each([
    ['ERC20', /streams\.transfers\.standard.*unknown asset standard: did you mean erc20\?/s],
    ['erc-721', /did you mean erc721\?/],
    ['Activity', /did you mean activity\?/],
    ['erc115', /did you mean erc1155\?/],
    ['erc99999', /unknown asset standard; known are erc20, erc721/],
  ])('%s is refused with what was meant', (standard, says) => {
    expect(() => parseConfig(policyOf(standard), {})).toThrow(says);
  });
});
