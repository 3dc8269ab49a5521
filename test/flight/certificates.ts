/** Throw-away certificates made with openssl: a CA, a server and a client that it signed, and a stranger. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const OPENSSL = 'openssl';

/** A certificate and its key, as PEM. */
interface Identity {
  readonly cert: string;
  readonly key: string;
}

export interface Certificates {
  readonly ca: string;
  /** For localhost and 127.0.0.1. */
  readonly server: Identity;
  readonly client: Identity;
  /** Signed by nobody but itself. */
  readonly stranger: Identity;
}

const openssl = (directory: string, ...args: readonly string[]): void => {
  execFileSync(OPENSSL, args, { cwd: directory, stdio: 'pipe' });
};

/** Whether this machine can make certificates. */
export const hasOpenssl = (): boolean => {
  try {
    execFileSync(OPENSSL, ['version'], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
};

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export const makeCertificates = (): Certificates => {
  const directory = mkdtempSync(join(tmpdir(), 'pgstrata-tls-'));
  const read = (name: string): string => readFileSync(join(directory, name), 'utf8');
  const identity = (name: string): Identity => ({ cert: read(`${name}.crt`), key: read(`${name}.key`) });
  const selfSign = (name: string): void =>
    openssl(
      directory,
      'req',
      '-x509',
      ...KEY,
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.crt`,
    );
  const sign = (name: string, names: string): void => {
    writeFileSync(join(directory, `${name}.ext`), `subjectAltName=${names}\n`);
    openssl(
      directory,
      'req',
      ...KEY,
      '-subj',
      `/CN=${name}`,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
    );
    const signer = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', `${name}.ext`];
    openssl(directory, 'x509', '-req', '-days', '2', '-in', `${name}.csr`, ...signer, '-out', `${name}.crt`);
  };
  try {
    selfSign('ca');
    selfSign('stranger');
    sign('server', 'DNS:localhost,IP:127.0.0.1');
    sign('client', 'DNS:client');
    return {
      ca: read('ca.crt'),
      server: identity('server'),
      client: identity('client'),
      stranger: identity('stranger'),
    };
  } finally {
    rmSync(directory, { recursive: true });
  }
};
