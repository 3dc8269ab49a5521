/** What an asset's key means. It is part of the asset's identity: under a misspelt one every asset would be another asset. */
import { z } from 'zod';
import { nearest } from './nearest.ts';

/** Standards that pgstrata knows by name; other ledgers bring names of their own. */
const KNOWN = ['erc20', 'erc721', 'erc777', 'erc1155', 'native', 'activity'] as const;

/** The name without case and punctuation, by which spellings of one standard are told. */
const plain = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');

/** Why a name is refused; null when it may be used: a known one as it is written above, or one like none of them. */
const refusal = (name: string): string | null => {
  if ((KNOWN as readonly string[]).includes(name)) return null;
  const meant = KNOWN.find((known) => known === plain(name));
  if (meant === undefined && !plain(name).startsWith('erc')) return null;
  const guess = meant ?? nearest(plain(name), KNOWN);
  return `is an unknown asset standard${guess === undefined ? `; known are ${KNOWN.join(', ')}` : `: did you mean ${guess}?`}`;
};

/** An asset standard of the policy file. */
export const assetStandard = z
  .string()
  .min(1)
  .superRefine((name, context) => {
    const message = refusal(name);
    if (message !== null) context.addIssue({ code: 'custom', message });
  });
