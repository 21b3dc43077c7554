/**
 * One QMP client: greeting, negotiation, requests in order, events. docs/interop/qmp-spec of QEMU 7.2. Errors of a command
 * are answers; faults of ours are thrown.
 */
import { checkArguments, isObject, type Json, type JsonObject, qmp, type QmpContext } from './command.ts';
import { QMP_COMMANDS } from './commands/index.ts';
import { QmpError } from './errors.ts';
import { type QmpEvent, watchMachine } from './events.ts';
import { JsonReader } from './json-reader.ts';
import { QMP_VERSION } from './session-version.ts';

/** Requests that may wait; more input is not read. */
const MAX_WAITING = 32;

export interface QmpSessionOptions {
  readonly context: Omit<QmpContext, 'commands'>;
  /** Our own name and version, shown as package. */
  readonly package: string;
  /** Wall clock, ms since the epoch. */
  readonly now: () => number;
  /** A message, without the line's end; `isEvent`: nobody waits for it. */
  readonly write: (text: string, isEvent: boolean) => void;
  /** A fault of ours. */
  readonly onFault: (error: unknown) => void;
  /** There is room for input again. */
  readonly onReady: () => void;
  readonly pretty?: boolean;
}

const COMMANDS = new Map(QMP_COMMANDS.map((command) => [command.name, command]));
const NEGOTIATE = 'qmp_capabilities';
const QUIT = 'quit';
/** With the one that the session answers itself. */
const ALL = [...QMP_COMMANDS, qmp(NEGOTIATE, { enable: 'array?' }, () => ({}))];

export class QmpSession {
  readonly #options: QmpSessionOptions;
  readonly #context: QmpContext;
  readonly #reader = new JsonReader();
  #isNegotiated = false;
  #waiting = 0;
  #work: Promise<void> = Promise.resolve();
  #stopWatching: (() => void) | undefined;

  constructor(options: QmpSessionOptions) {
    this.#options = options;
    this.#context = { ...options.context, commands: ALL };
  }

  /** A client has come. */
  opened(): void {
    this.closed();
    this.#send({ QMP: { version: { ...QMP_VERSION, package: this.#options.package }, capabilities: [] } });
    this.#stopWatching = watchMachine(this.#context.machine, (event) => this.#event(event));
  }

  /** The client has gone: what it negotiated goes with it. */
  closed(): void {
    this.#isNegotiated = false;
    this.#reader.clear();
    this.#stopWatching?.();
    this.#stopWatching = undefined;
  }

  /** Bytes that may be given to {@link receive} now. */
  canReceive(): number {
    return this.#waiting < MAX_WAITING ? 4096 : 0;
  }

  receive(bytes: Uint8Array): void {
    for (const input of this.#reader.push(bytes)) {
      this.#waiting++;
      this.#work = this.#work
        .then(() => ('error' in input ? this.#fail(new QmpError(input.error)) : this.#request(input.value)))
        .catch((error) => this.#options.onFault(error))
        .then(() => {
          this.#waiting--;
          if (this.#waiting === MAX_WAITING - 1) this.#options.onReady();
        });
    }
  }

  async #request(request: unknown): Promise<void> {
    const id = isObject(request) ? request['id'] : undefined;
    try {
      const value = await this.#execute(request);
      this.#send({ return: value, ...(id === undefined ? {} : { id }) });
      if (isObject(request) && request['execute'] === QUIT && this.#isNegotiated) this.#quit();
    } catch (error) {
      this.#fail(asQmpError(error), id);
    }
  }

  /** The client has its answer first. */
  #quit(): void {
    this.#event({ name: 'SHUTDOWN', data: { guest: false, reason: 'host-qmp-quit' } });
    this.#context.host.quit();
  }

  async #execute(request: unknown): Promise<Json> {
    const { name, values } = parseRequest(request);
    if (name === NEGOTIATE) return this.#negotiate(values);
    if (!this.#isNegotiated) {
      throw new QmpError(`Expecting capabilities negotiation with '${NEGOTIATE}'`, 'CommandNotFound');
    }
    const command = COMMANDS.get(name);
    if (command === undefined) {
      throw new QmpError(`The command ${name} has not been found`, 'CommandNotFound');
    }
    const value = await command.run(this.#context, checkArguments(command.spec, values));
    return value ?? {};
  }

  #negotiate(values: JsonObject): Json {
    if (this.#isNegotiated) {
      throw new QmpError('Capabilities negotiation is already complete, command ignored', 'CommandNotFound');
    }
    for (const wanted of checkArguments({ enable: 'array?' }, values).list('enable')) {
      throw new QmpError(`Capability ${String(wanted)} not available`);
    }
    this.#isNegotiated = true;
    return {};
  }

  #fail(error: QmpError, id?: Json): void {
    const { errorClass, message } = error;
    this.#send({ error: { class: errorClass, desc: message }, ...(id === undefined ? {} : { id }) });
  }

  #event({ name, data }: QmpEvent): void {
    if (!this.#isNegotiated) return;
    const ms = this.#options.now();
    const timestamp = { seconds: Math.floor(ms / 1000), microseconds: Math.floor((ms % 1000) * 1000) };
    this.#send({ timestamp, event: name, ...(data === undefined ? {} : { data }) });
  }

  #send(message: Json): void {
    const text = JSON.stringify(message, undefined, this.#options.pretty ? 4 : undefined);
    this.#options.write(text, isObject(message) && message['event'] !== undefined);
  }
}

/** Throws QmpError in QEMU's words (qapi/qmp-dispatch.c). */
function parseRequest(request: unknown): { readonly name: string; readonly values: JsonObject } {
  if (!isObject(request)) throw new QmpError('QMP input must be a JSON object');
  for (const key of Object.keys(request)) {
    if (key !== 'execute' && key !== 'arguments' && key !== 'id' && key !== 'control') {
      throw new QmpError(`QMP input member '${key}' is unexpected`);
    }
  }
  const { execute: name, arguments: values = {} } = request;
  if (name === undefined) throw new QmpError("QMP input lacks member 'execute'");
  if (typeof name !== 'string') throw new QmpError("QMP input member 'execute' must be a string");
  if (!isObject(values)) throw new QmpError("QMP input member 'arguments' must be an object");
  return { name, values };
}

/** What images, snapshots and commands refuse is an answer; anything else is a fault of ours. */
function asQmpError(error: unknown): QmpError {
  if (error instanceof QmpError) return error;
  const isExpected =
    error instanceof Error &&
    (['BlockError', 'MigrationError'].includes(error.name) || error.constructor.name === 'CommandError');
  if (isExpected) return new QmpError(error.message);
  throw error;
}
