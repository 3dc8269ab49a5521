/** Who may ask: the Host header, the token, the cookie that stands for it in a browser. Pure, but for the clock it is given. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';

/** The shortest token that is accepted: too long to be guessed at any rate we answer. */
export const TOKEN_LENGTH_MIN = 16;

/** Whether an address to listen on is this machine's own. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);

/** The name or address of a Host header, without its port; null for what is none. */
export const hostOf = (header: string | undefined): string | null => {
  const match = /^(?:\[(?<v6>[0-9a-f:.]+)\]|(?<name>[a-z0-9._-]+))(?::\d{1,5})?$/i.exec(header ?? '');
  return (match?.groups?.['v6'] ?? match?.groups?.['name'])?.toLowerCase() ?? null;
};

/**
 * Whether a request may name this host. A foreign page that points its own name at us (DNS rebinding) comes with that name:
 * so addresses are welcome, and of names only `localhost` and those that were allowed.
 */
export const isAllowedHost = (header: string | undefined, names: readonly string[]): boolean => {
  const host = hostOf(header);
  return host !== null && (isIP(host) !== 0 || host === 'localhost' || names.includes(host));
};

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Compares in the same time whatever is given, and however long it is. */
export const isSameSecret = (given: string, secret: string): boolean =>
  timingSafeEqual(digest(given), digest(secret));

/** How long a browser stays let in. */
export const SESSION_SECONDS = 12 * 3600;

const sign = (token: string, until: number): string =>
  createHmac('sha256', token).update(`pgstrata page ${until}`).digest('base64url');

/** What the cookie of a browser that has shown the token holds: good for {@link SESSION_SECONDS}, in every process with the same token. */
export const openSession = (token: string, now: Date): string => {
  const until = Math.floor(now.getTime() / 1000) + SESSION_SECONDS;
  return `${until}.${sign(token, until)}`;
};

/** Whether a cookie's value was made from this token, and is still good. */
export const isSession = (value: string, token: string, now: Date): boolean => {
  const [until = '', signature = ''] = value.split('.');
  return (
    /^\d{1,12}$/.test(until) &&
    Number(until) * 1000 > now.getTime() &&
    isSameSecret(signature, sign(token, Number(until)))
  );
};

/** The name of the cookie. */
export const COOKIE = 'pgstrata_session';

/** The value of our cookie among those of a request. */
export const cookieOf = (header: string | undefined): string | null =>
  (header ?? '')
    .split(';')
    .map((part) => part.trim())
    .find((part) => part.startsWith(`${COOKIE}=`))
    ?.slice(COOKIE.length + 1) ?? null;

/** What a request shows to be let in. */
export interface Shown {
  readonly authorization: string | undefined;
  readonly cookie: string | undefined;
}

/** Whether a request may be answered; without a token everybody who can reach us may ask. */
export const isAdmitted = ({ authorization, cookie }: Shown, token: string | null, now: Date): boolean => {
  if (token === null) return true;
  const bearer = /^Bearer +(?<token>\S+)$/i.exec(authorization ?? '')?.groups?.['token'];
  if (bearer !== undefined) return isSameSecret(bearer, token);
  const session = cookieOf(cookie);
  return session !== null && isSession(session, token, now);
};
