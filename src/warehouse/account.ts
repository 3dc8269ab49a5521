/** Accounts between text and bytes: the TypeScript twins of strata.account() and strata.account_text(). */

const HEX_TEXT = /^0x(?:[0-9a-fA-F]{2})*$/;
// oxlint-disable-next-line no-control-regex -- a name with control characters does not print, so it is shown as hex
const CONTROL = /[\x00-\x1f\x7f]/;
/** Hex digits of an address, and of a hash. */
const ADDRESS_DIGITS = 40;
const HASH_DIGITS = 64;
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** `0x…` hex as its bytes, anything else (bech32, account number) as its UTF-8 bytes. */
export const accountBytes = (text: string): Buffer =>
  HEX_TEXT.test(text) ? Buffer.from(text.slice(2), 'hex') : Buffer.from(text, 'utf8');

/** What makes one doubt that a text is the address that was meant; null where nothing does. */
export const accountDoubt = (text: string): string | null => {
  if (!/^0x/i.test(text)) return null;
  const digits = text.slice(2);
  if (/[^0-9a-fA-F]/.test(digits)) return 'it has letters that are no hex digits';
  if (digits.length === ADDRESS_DIGITS || digits.length === HASH_DIGITS) return null;
  return `it has ${digits.length} hex digits, an address has ${ADDRESS_DIGITS}`;
};

/** The text where the bytes are printable UTF-8, else `0x…` hex; {@link accountBytes} reads either back to the same bytes. */
export const accountText = (bytes: Uint8Array): string => {
  const hex = `0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')}`;
  // Addresses and hashes: what is not plain text there is never meant as text, even where it happens to be valid UTF-8.
  if (
    (bytes.length === 20 || bytes.length === 32) &&
    bytes.some((byte) => byte === 0 || byte >= 0x80 || byte === 0x5c)
  )
    return hex;
  try {
    const text = strictUtf8.decode(bytes);
    return CONTROL.test(text) || HEX_TEXT.test(text) ? hex : text;
  } catch {
    return hex;
  }
};

/** A byte that no text of an address or a hash has, in hex. */
const NO_TEXT = /^(?:..)*?(?:[89a-f].|00|5c)/;

/** The same as {@link accountText} of the bytes that hex spells; most need not be made for it. */
export const accountTextOfHex = (hex: string): string =>
  (hex.length === ADDRESS_DIGITS || hex.length === HASH_DIGITS) && NO_TEXT.test(hex)
    ? `0x${hex}`
    : accountText(Buffer.from(hex, 'hex'));
