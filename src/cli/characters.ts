/** Opens the serial ports' and monitors' back ends and says who shares which. */
import { type CharBackend, CharDeviceError } from '../host/chardev/chardev.ts';
import { LoggedChardev } from '../host/chardev/logged.ts';
import { MuxChardev, type MuxHooks } from '../host/chardev/mux.ts';
import { openChardev } from '../host/chardev/open.ts';
import { SerialLink } from '../host/serial-link.ts';
import type { CharConfig, Config, MonitorConfig } from './config.ts';
import { UsageError } from './grammar.ts';

/** One that is open, as `info chardev` lists it. */
export interface OpenCharacter {
  readonly label: string;
  readonly backend: CharBackend | MuxChardev;
}

export interface OpenMonitor {
  readonly backend: CharBackend;
  readonly muxed: boolean;
  /** QMP instead of the human monitor. */
  readonly control: boolean;
  readonly pretty: boolean;
}

export interface Characters {
  /** By port number; undefined: no such port. */
  readonly serials: readonly (SerialLink | undefined)[];
  /** Of LPT1; undefined: there is none. */
  readonly parallel: SerialLink | undefined;
  readonly monitors: readonly OpenMonitor[];
  readonly open: readonly OpenCharacter[];
  /** Lets input in, once everybody is in place. */
  start(): void;
  close(): Promise<void>;
}

export interface CharacterHost {
  readonly mux: MuxHooks;
  readonly isTerminal: boolean;
  readonly out: (line: string) => void;
  readonly notice: (line: string) => void;
  /** Where `vc` is shown. */
  readonly openConsole?: (label: string) => CharBackend;
  /** Comes between the first serial port and its back end. */
  readonly tapConsole?: (backend: CharBackend) => CharBackend;
}

const STDIO = { mux: false, spec: { kind: 'stdio' }, text: 'stdio' } as const;

/** QEMU's defaults. It would show serial port and monitor in its window (`vc`); we share them on the terminal instead. */
export function withDefaults(config: Config, host: Pick<CharacterHost, 'isTerminal' | 'notice'>): void {
  const { serials, monitors, noGraphic } = config;
  const hasMonitor = monitors.length > 0 || serials.some((s) => s.mux);
  if (config.curses !== undefined) {
    withConsoles(config, config.curses, hasMonitor);
    return;
  }
  if (config.noDefaults) return;
  const shared: CharConfig = { ...STDIO, mux: true, text: 'mon:stdio', where: '-nographic' };
  if (noGraphic) {
    if (serials.length === 0 && !hasMonitor) serials.push(shared);
    else if (serials.length === 0) serials.push({ ...STDIO, where: '-nographic' });
    else if (!hasMonitor) monitors.push({ ...STDIO, where: '-nographic', mode: 'readline' });
    return;
  }
  if (serials.length > 0) return;
  if (!hasMonitor && host.isTerminal) {
    host.notice(
      'no window here: serial port and monitor are on this terminal (Ctrl-a c switches, Ctrl-a h for help)',
    );
    serials.push({ ...shared, where: '-serial mon:stdio' });
  } else serials.push({ mux: false, spec: { kind: 'null' }, text: 'null', where: '-serial null' });
}

/** The terminal is the display's: serial port and monitor are consoles of it, as in QEMU. */
function withConsoles(config: Config, where: string, hasMonitor: boolean): void {
  const { serials, monitors, noDefaults } = config;
  if (config.noGraphic || [...serials, ...monitors].some(({ spec }) => spec.kind === 'stdio')) {
    throw new UsageError(`${where}: cannot use stdio by multiple character devices`);
  }
  if (noDefaults) return;
  const console: CharConfig = { mux: false, spec: { kind: 'vc' }, text: 'vc', where };
  if (serials.length === 0) serials.push(console);
  if (!hasMonitor) monitors.push({ ...console, mode: 'readline' });
}

interface Shared {
  readonly backend: CharBackend;
  readonly mux: MuxChardev | undefined;
}

export async function openCharacters(config: Config, host: CharacterHost): Promise<Characters> {
  const opener = new Opener(config, host);
  try {
    // In QEMU's order: names of pseudo-terminals are printed in it.
    for (const [i, monitor] of config.monitors.entries()) await opener.monitor(monitor, `compat_monitor${i}`);
    for (const [i, serial] of config.serials.entries()) await opener.serial(serial, `serial${i}`);
    if (config.parallel !== undefined) await opener.printer(config.parallel, 'parallel0');
  } catch (error) {
    await opener.close();
    throw error;
  }
  return opener;
}

class Opener implements Characters {
  readonly serials: (SerialLink | undefined)[] = [];
  parallel: SerialLink | undefined;
  readonly monitors: OpenMonitor[] = [];
  readonly open: OpenCharacter[] = [];
  readonly #config: Config;
  readonly #host: CharacterHost;
  readonly #byId = new Map<string, Shared>();
  readonly #starts: (() => void)[] = [];

  constructor(config: Config, host: CharacterHost) {
    this.#config = config;
    this.#host = host;
  }

  async serial(config: CharConfig, label: string): Promise<void> {
    if (config.spec.kind === 'none') {
      this.serials.push(undefined);
      return;
    }
    const shared = await this.#share(
      config,
      label,
      `could not connect serial device to character backend '${config.text}'`,
    );
    const place = shared.mux?.port() ?? shared.backend;
    const tap = this.serials.length === 0 ? this.#host.tapConsole : undefined;
    const backend = tap?.(place) ?? place;
    const link = new SerialLink(backend);
    this.serials.push(link);
    if (config.mux && config.id === undefined)
      this.monitors.push({ backend: shared.mux!.port(), muxed: true, control: false, pretty: false });
    this.#attachLater(backend, link);
  }

  async printer(config: CharConfig, label: string): Promise<void> {
    const consequence = `could not connect parallel device to character backend '${config.text}'`;
    const { backend, mux } = await this.#share(config, label, consequence);
    const place = mux?.port() ?? backend;
    this.parallel = new SerialLink(place);
    this.#attachLater(place, this.parallel);
  }

  async monitor(config: MonitorConfig, label: string): Promise<void> {
    if (config.spec.kind === 'none') return;
    const shared = await this.#share(config, label, undefined);
    this.monitors.push({
      backend: shared.mux?.port() ?? shared.backend,
      muxed: shared.mux !== undefined,
      control: config.mode === 'control',
      pretty: config.pretty === true,
    });
  }

  #attachLater(backend: CharBackend, link: SerialLink): void {
    this.#starts.push(() => backend.attach(link));
  }

  async #share(config: CharConfig, label: string, consequence: string | undefined): Promise<Shared> {
    const known = config.id === undefined ? undefined : this.#byId.get(config.id);
    if (known !== undefined) {
      if (known.mux !== undefined) return known;
      throw new UsageError(`${config.where}: Device '${config.id}' is in use`);
    }
    const shared = await this.#open(config, label, consequence);
    if (config.id !== undefined) this.#byId.set(config.id, shared);
    return shared;
  }

  async #open(config: CharConfig, label: string, consequence: string | undefined): Promise<Shared> {
    const { where, spec, id } = config;
    const name = id ?? label;
    try {
      const opened = await openChardev(spec, {
        label: name,
        signals: !config.mux && !this.#config.noGraphic,
        announce: this.#host.out,
        openConsole: this.#host.openConsole,
        notice: (line) => this.#host.notice(`${where}: ${line}`),
      });
      const backend = config.log === undefined ? opened : new LoggedChardev(opened, config.log);
      const mux = config.mux ? new MuxChardev(backend, this.#host.mux) : undefined;
      if (mux !== undefined) {
        this.open.push({ label: `${name}-base`, backend: mux });
        this.open.push({ label: name, backend: muxEntry(mux) });
      } else this.open.push({ label: name, backend });
      return { backend, mux };
    } catch (error) {
      if (!(error instanceof CharDeviceError)) throw error;
      const more = consequence === undefined ? [] : [`${where}: ${consequence}`];
      throw new UsageError(`${where}: ${error.message}`, ...more);
    }
  }

  start(): void {
    for (const start of this.#starts) start();
    for (const { backend } of this.open) if (backend instanceof MuxChardev) backend.start();
  }

  async close(): Promise<void> {
    for (const link of [...this.serials, this.parallel]) link?.finish();
    for (const { backend } of this.open) await backend.close();
  }
}

/** The place that `info chardev` shows for the shared device itself. */
function muxEntry(mux: MuxChardev): CharBackend {
  return {
    filename: 'mux',
    attach: () => {},
    write: (bytes) => mux.write(bytes),
    acceptInput: () => {},
    close: async () => {},
  };
}
