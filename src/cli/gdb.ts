/** `-gdb`, `-s` and the monitor's `gdbserver`: one gdb server, started, moved and stopped. */
import { parseCharSpec } from '../host/chardev/spec.ts';
import { type GdbAddress, GdbServer, GdbServerError, type GdbServerOptions } from '../host/gdb/server.ts';
import { UsageError } from './grammar.ts';

/** What `-s` and `gdbserver` without an argument mean. */
export const DEFAULT_GDB_DEVICE = 'tcp::1234';
/** Without a host name only programs on this computer are let in. */
const LOOPBACK = '127.0.0.1';

/** Undefined: not a device that gdb can come in by. */
export function parseGdbDevice(device: string): GdbAddress | undefined {
  const spec = parseCharSpec(device)?.spec;
  if (spec?.kind === 'tcp')
    return { kind: 'tcp', host: spec.host === '' ? LOOPBACK : spec.host, port: spec.port };
  if (spec?.kind === 'unix') return { kind: 'unix', path: spec.path };
  return undefined;
}

export class GdbControl {
  readonly #options: () => GdbServerOptions;
  #server: GdbServer | undefined;

  /** `options` is asked for when a server starts. */
  constructor(options: () => GdbServerOptions) {
    this.#options = options;
  }

  /** `-gdb`. Rejects with UsageError. */
  async start(device: string): Promise<void> {
    const where = `-gdb ${device}`;
    const address = parseGdbDevice(device);
    if (address === undefined)
      throw new UsageError(`${where}: '${device}' is not a valid char driver (tcp:… or unix:…)`);
    try {
      await this.#listen(address);
    } catch (error) {
      if (!(error instanceof GdbServerError)) throw error;
      throw new UsageError(`${where}: ${error.message}`);
    }
  }

  /** `gdbserver [device]`: what the monitor prints. */
  async command(device: string = DEFAULT_GDB_DEVICE): Promise<string> {
    await this.close();
    if (device === 'none') return 'Disabled gdbserver\n';
    const address = parseGdbDevice(device);
    try {
      if (address === undefined) throw new GdbServerError('not tcp:… or unix:…');
      await this.#listen(address);
    } catch (error) {
      if (!(error instanceof GdbServerError)) throw error;
      return `Could not open gdbserver on device '${device}'\n${error.message}\n`;
    }
    return `Waiting for gdb connection on device '${device}'\n`;
  }

  async #listen(address: GdbAddress): Promise<void> {
    const server = new GdbServer(this.#options());
    await server.listen(address);
    this.#server = server;
  }

  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.close();
  }
}
