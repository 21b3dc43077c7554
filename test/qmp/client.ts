/** A QMP client for tests, of QEMU and of a machine in this process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { buildMachine } from '../../src/cli/build-machine.ts';
import { createMonitorHost } from '../../src/cli/monitor-host.ts';
import { EventLog } from '../../src/cli/log.ts';
import { parseCommandLine } from '../../src/cli/options.ts';
import type { Machine } from '../../src/machine/machine.ts';
import { Hmp } from '../../src/monitor/hmp.ts';
import { QmpSession } from '../../src/monitor/qmp/session.ts';

export interface Message {
  readonly [key: string]: unknown;
}

/** The reference machine, small and stopped. */
export const MACHINE = [
  ...['-M', 'pc-i440fx-7.2,hpet=off,vmport=off', '-cpu', 'pentium3'],
  ...['-m', '16', '-nodefaults', '-S'],
];

export class QmpClient {
  readonly messages: Message[] = [];
  readonly #write: (text: string) => void;
  #wake: () => void = () => {};
  #ids = 0;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  take(text: string): void {
    this.messages.push(JSON.parse(text) as Message);
    this.#wake();
  }

  async until(found: (message: Message) => boolean, what: string): Promise<Message> {
    const end = Date.now() + 40_000;
    for (;;) {
      const message = this.messages.find(found);
      if (message !== undefined) return message;
      if (Date.now() > end) throw new Error(`no ${what} in ${JSON.stringify(this.messages.slice(-5))}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, 100);
      });
    }
  }

  send(text: string): void {
    this.#write(text);
  }

  /** The answer, `return` or `error`. */
  async ask(execute: string, args?: object): Promise<Message> {
    const id = `t${this.#ids++}`;
    this.#write(JSON.stringify({ execute, id, ...(args === undefined ? {} : { arguments: args }) }));
    return this.until((message) => message['id'] === id, `answer to ${execute}`);
  }

  async event(name: string, accepts: (data: Message) => boolean = () => true): Promise<Message> {
    const matches = (m: Message) => m['event'] === name && accepts((m['data'] ?? {}) as Message);
    return this.until(matches, `event ${name}`);
  }

  get events(): string[] {
    return this.messages.flatMap((message) =>
      message['event'] === undefined ? [] : [String(message['event'])],
    );
  }
}

export interface Peer {
  readonly client: QmpClient;
  close(): Promise<void>;
}

export async function ourPeer(
  args: readonly string[],
): Promise<Peer & { readonly machine: Machine; readonly faults: unknown[] }> {
  const config = parseCommandLine(args);
  const machine = await buildMachine(config, { serials: [], notice: () => {} });
  const host = createMonitorHost({
    config,
    characters: { open: [] },
    log: new EventLog([], undefined),
    gdbserver: async () => '',
    quit: () => {},
  });
  const hmp = new Hmp({ machine, host });
  const faults: unknown[] = [];
  const client: QmpClient = new QmpClient((text) => session.receive(Buffer.from(text)));
  const session = new QmpSession({
    context: { machine, host, hmp },
    package: host.version,
    now: () => Date.now(),
    write: (text) => client.take(text),
    onFault: (error) => faults.push(error),
    onReady: () => {},
  });
  session.opened();
  return { client, machine, faults, close: () => machine.close() };
}

export function qemuPeer(args: readonly string[]): Peer {
  const child: ChildProcess = spawn('qemu-system-i386', [...args, '-display', 'none', '-qmp', 'stdio']);
  const client = new QmpClient((text) => child.stdin!.write(text));
  let rest = '';
  child.stdout!.on('data', (bytes) => {
    const lines = (rest + bytes).split('\n');
    rest = lines.pop()!;
    for (const line of lines) if (line.trim() !== '') client.take(line);
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return {
    client,
    close: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Names of keys and kinds of values, nested; lists by their first element. Optional keys that depend on the host are out. */
export function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? [] : [shapeOf(value[0])];
  if (typeof value !== 'object' || value === null) return typeof value;
  const entries = Object.entries(value).filter(([key]) => !['timestamp', 'id', 'backing_file'].includes(key));
  return Object.fromEntries(
    entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, v]) => [key, shapeOf(v)]),
  );
}
