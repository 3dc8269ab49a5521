/** From a server of the configuration to the options of a Flight client: certificates are read here, tokens when they are needed. */
import { readFile } from 'node:fs/promises';
import type { FlightOptions } from '../flight/client.ts';
import type { ServerConfig } from '../runtime/config.ts';
import { WarehouseError, messageOf } from '../runtime/errors.ts';

/**
 * Options for {@link FlightOptions} from a `servers` entry.
 *
 * @throws WarehouseError `config` for a certificate file that cannot be read.
 */
export const flightOptions = async (server: ServerConfig): Promise<FlightOptions> => {
  const { tls, token_file } = server;
  return {
    url: server.url,
    // Read for each call: a token that was renewed counts from the next one on.
    token: token_file === undefined ? server.token : () => readFile(token_file, 'utf8'),
    allowPlaintext: server.allow_plaintext,
    ...(tls === undefined
      ? {}
      : {
          tls: {
            ca: await certificate(tls.ca),
            cert: await certificate(tls.cert),
            key: await certificate(tls.key),
            serverName: tls.server_name,
          },
        }),
  };
};

const certificate = async (file: string | undefined): Promise<string | undefined> =>
  file === undefined
    ? undefined
    : readFile(file, 'utf8').catch((thrown: unknown) => {
        throw new WarehouseError('config', `cannot read the certificate ${file}: ${messageOf(thrown)}`, {
          file,
          remedy: 'Give the path of a PEM file under servers.<name>.tls.',
        });
      });
