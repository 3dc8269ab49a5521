/** Runs commands in processes that are there already, each process one command at a time. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Finished } from './command.ts';
import { END_OF_OUTPUT } from './host.ts';
import type { Command } from './host.ts';

const HOST = join(import.meta.dirname, 'host.ts');

/** Commands that run at once; the others wait. */
const HOSTS_MAX = 2;

/** Processes that wait for a command. */
const idle: ChildProcess[] = [];
const waiting: ((host: ChildProcess) => void)[] = [];
let hosts = 0;

const startHost = (): ChildProcess => {
  const host = fork(HOST, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  hosts += 1;
  // Hosts end with us, and are no reason for us to stay.
  host.unref();
  host.channel?.unref();
  for (const stream of [host.stdout, host.stderr]) (stream as Socket | null)?.setEncoding('utf8').unref();
  return host;
};

const take = (): ChildProcess | Promise<ChildProcess> =>
  idle.pop() ??
  (hosts < HOSTS_MAX
    ? startHost()
    : new Promise((resolve) => {
        waiting.push(resolve);
      }));

const giveBack = (host: ChildProcess): void => {
  const next = waiting.shift();
  if (next === undefined) idle.push(host);
  else next(host);
};

/** A host that has died is replaced, for whoever waits for it. */
const replace = (): void => {
  hosts -= 1;
  if (waiting.length > 0) giveBack(startHost());
};

const runIn = (host: ChildProcess, command: Command): Promise<Finished> =>
  new Promise((resolve) => {
    const texts = { stdout: '', stderr: '' };
    let code: number | undefined;
    const onText = (name: 'stdout' | 'stderr') => (text: string) => {
      texts[name] += text;
      finishIfAll();
    };
    const [onStdout, onStderr] = [onText('stdout'), onText('stderr')];
    const onCode = (told: unknown): void => {
      code = Number(told);
      finishIfAll();
    };
    const settle = (finished: Finished): void => {
      host.stdout?.off('data', onStdout);
      host.stderr?.off('data', onStderr);
      host.off('message', onCode).off('close', onClose);
      resolve(finished);
    };
    const finishIfAll = (): void => {
      if (code === undefined || !Object.values(texts).every((text) => text.endsWith(END_OF_OUTPUT))) return;
      giveBack(host);
      settle({ code, signal: null, stdout: texts.stdout.slice(0, -1), stderr: texts.stderr.slice(0, -1) });
    };
    const onClose = (exitCode: number | null, signal: NodeJS.Signals | null): void => {
      replace();
      settle({ code: exitCode, signal, ...texts });
    };
    host.stdout?.on('data', onStdout);
    host.stderr?.on('data', onStderr);
    host.on('message', onCode).on('close', onClose);
    host.send(command);
  });

/** Runs a command to its end, and says how it ended. */
export const runHosted = async (command: Command): Promise<Finished> => runIn(await take(), command);
