/**
 * One page's control connection: commands as JSON, `{id, command, …}`, each answered with `{id, …}` or `{id, error}`;
 * and what happens meanwhile: `{event: 'state' | 'serial' | 'snapshots', …}`.
 */
import type { WebSocket } from 'ws';
import type { Machine } from '../../machine/machine.ts';
import type { Hmp } from '../../monitor/hmp.ts';
import type { ConsoleTap } from './console-tap.ts';
import type { Thumbnails } from './thumbnails.ts';

/** A page that does not read is not told of serial output beyond this, bytes. */
const BACKLOG_LIMIT = 1024 * 1024;
/** Commands that may wait for their turn. */
const MAX_WAITING = 16;

export interface ControlOptions {
  readonly machine: Machine;
  readonly hmp: Hmp;
  readonly serial: ConsoleTap | undefined;
  readonly thumbnails: Thumbnails;
  /** A fault of ours. */
  readonly onFault: (error: unknown) => void;
}

interface Request {
  readonly id: number;
  readonly command: string;
  /** Tag, keys, line or text, as the command needs. */
  readonly argument: string;
}

export class ControlSession {
  readonly #socket: WebSocket;
  readonly #options: ControlOptions;
  readonly #removers: readonly (() => void)[];
  #work: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(socket: WebSocket, options: ControlOptions) {
    this.#socket = socket;
    this.#options = options;
    const { machine, serial } = options;
    const showSnapshots = (): void => this.#send({ event: 'snapshots' });
    this.#removers = [
      machine.on('state', (state) => this.#send({ event: 'state', state })),
      machine.on('loaded', showSnapshots),
      machine.jobs.on('status', ({ status }) => {
        if (status === 'concluded') showSnapshots();
      }),
      serial?.onOutput((bytes) => this.#showSerial(bytes)) ?? (() => {}),
    ];
    socket.on('message', (data) => this.#receive(String(data)));
    socket.on('error', () => {});
    socket.once('close', () => {
      for (const remove of this.#removers) remove();
    });
    this.#send({ event: 'state', state: machine.state });
    if (serial !== undefined) this.#showSerial(serial.history);
  }

  #send(message: object): void {
    const { readyState, OPEN } = this.#socket;
    if (readyState === OPEN && this.#socket.bufferedAmount < BACKLOG_LIMIT) {
      this.#socket.send(JSON.stringify(message));
    }
  }

  #showSerial(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#send({ event: 'serial', text: Buffer.from(bytes).toString('latin1') });
  }

  #receive(text: string): void {
    const request = parseRequest(text);
    if (request === undefined || this.#waiting >= MAX_WAITING) {
      this.#socket.close(1008);
      return;
    }
    this.#waiting++;
    this.#work = this.#work
      .then(() => this.#run(request))
      .then(
        (result) => this.#send({ id: request.id, ...result }),
        (error: unknown) => {
          this.#send({ id: request.id, error: error instanceof Error ? error.message : String(error) });
          if (!isExpected(error)) this.#options.onFault(error);
        },
      )
      .finally(() => {
        this.#waiting--;
      });
  }

  async #run({ command, argument }: Request): Promise<object> {
    const { machine, hmp, serial } = this.#options;
    switch (command) {
      case 'pause':
        await machine.pause();
        return {};
      case 'resume':
        return { text: await hmp.execute('cont') };
      case 'reset':
        machine.reset();
        return {};
      case 'savevm':
        await machine.savevm(argument === '' ? undefined : argument);
        return {};
      case 'loadvm':
        await machine.loadvm(argument);
        return {};
      case 'snapshots':
        return { snapshots: this.#snapshots() };
      case 'keys':
        return { text: await hmp.execute(`sendkey ${argument}`) };
      case 'serial':
        serial?.type(Buffer.from(argument, 'latin1'));
        return {};
      case 'monitor':
        return { text: await hmp.execute(argument) };
      default:
        return { error: `unknown command: '${command}'` };
    }
  }

  #snapshots(): object[] {
    const { machine, thumbnails } = this.#options;
    return machine.listSnapshots().everywhere.map((snapshot) => ({
      id: snapshot.id,
      tag: snapshot.tag,
      bytes: snapshot.vmStateBytes,
      date: snapshot.dateSec * 1000,
      picture: thumbnails.of(snapshot),
    }));
  }
}

/** What the user or a file did. */
function isExpected(error: unknown): boolean {
  return error instanceof Error && ['BlockError', 'MigrationError', 'AbortError'].includes(error.name);
}

/** Undefined: not one of ours. */
export function parseRequest(text: string): Request | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, command, argument = '' } = value as Record<string, unknown>;
  if (typeof id !== 'number' || typeof command !== 'string' || typeof argument !== 'string') return undefined;
  return { id, command, argument };
}
