/** One run of the program: a machine with its monitors, from the first instruction to the exit code. */
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { nodeHost } from '../host/host-services.ts';
import type { ConsoleTap } from '../host/web/console-tap.ts';
import { MonitorLink } from '../host/monitor-link.ts';
import { QmpLink } from '../host/qmp-link.ts';
import { publishTraceEvents } from '../host/trace-channel.ts';
import type { Machine } from '../machine/machine.ts';
import { setBootOrder } from '../monitor/commands/machine.ts';
import { Hmp } from '../monitor/hmp.ts';
import type { Characters } from './characters.ts';
import type { Config, WebConfig } from './config.ts';
import type { CursesControl } from './curses.ts';
import { GdbControl } from './gdb.ts';
import { EventLog } from './log.ts';
import { createMonitorHost } from './monitor-host.ts';
import { showProgress } from './progress-line.ts';
import { applyTracePatterns } from './trace.ts';
import { VERSION } from './version.ts';
import { VncControl } from './vnc.ts';
import { WebControl } from './web.ts';

const DEFAULT_BOOT_ORDER = 'cad';
/** Any time that a timer takes. */
const LONG_MS = 2 ** 30;

export interface SessionOptions {
  readonly config: Config;
  readonly machine: Machine;
  readonly characters: Characters;
  /** The first serial port, for a display that shows it. */
  readonly tap?: ConsoleTap | undefined;
  /** The terminal as display. */
  readonly curses?: CursesControl | undefined;
  readonly program: string;
  readonly notice: (message: string) => void;
}

export class Session {
  readonly #options: SessionOptions;
  #gdb: GdbControl | undefined;
  #hmp: Hmp | undefined;
  readonly #vnc = new VncControl();
  readonly #web = new WebControl();
  readonly #done: Promise<number>;
  #finish: (code: number) => void = () => {};
  #fail: (error: unknown) => void = () => {};

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#done = new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
    });
  }

  /** Ends the program with this exit code. The first call counts. */
  finish(code: number): void {
    this.#finish(code);
  }

  /** Ctrl-a s: what the guest wrote with -snapshot goes into the images. Gives what there is to say. */
  async commit(): Promise<string> {
    return (await this.#hmp?.execute('commit all')) ?? '';
  }

  async run(): Promise<number> {
    const { config, machine, characters, notice } = this.#options;
    const removeSignals = this.#handleSignals();
    // A stopped machine with nobody connected has nothing that Node would wait for.
    const alive = setInterval(() => {}, LONG_MS);
    const { curses } = this.#options;
    // A progress line would be in the middle of the guest's screen.
    const endProgress =
      curses !== undefined ? () => {} : showProgress(machine.jobs, process.stderr, () => performance.now());
    const log = new EventLog(config.logItems, config.logFile);
    try {
      this.#listen();
      log.attach(machine);
      publishTraceEvents();
      for (const line of applyTracePatterns(config)) notice(line);
      characters.serials.forEach((link, n) => {
        const port = machine.serial(n);
        if (link !== undefined && port !== undefined) link.connect(port.receiver, () => machine.wake());
      });
      if (config.loadvm !== undefined) {
        const { notices } = await machine.loadvm(config.loadvm);
        for (const line of notices) notice(line);
      }
      const hmp = this.#startMonitors(log);
      if (config.web !== undefined) await this.#startWeb(config.web, hmp);
      if (config.vnc !== undefined) await this.#vnc.start(config.vnc, machine, config.name);
      if (config.gdb !== undefined) await this.#gdb?.start(config.gdb);
      await curses?.start(machine);
      characters.start();
      if (!config.startPaused) machine.start();
      const code = await this.#done;
      await machine.close();
      return code;
    } finally {
      clearInterval(alive);
      removeSignals();
      endProgress();
      curses?.close();
      await this.#gdb?.close();
      await this.#vnc.close();
      await this.#web.close();
      log.close();
      if (config.pidFile !== undefined) await rm(config.pidFile, { force: true });
    }
  }

  /** All monitors work on one machine with one state: sticky formats, keys held. */
  #startMonitors(log: EventLog): Hmp {
    const { config, machine, characters } = this.#options;
    const quit = () => this.finish(0);
    const gdb = new GdbControl(() => ({ machine, hmp, quit, onFault: (error) => this.#fail(error) }));
    const gdbserver = (device: string | undefined) => gdb.command(device);
    const host = createMonitorHost({ config, characters, log, gdbserver, vnc: this.#vnc, quit });
    const hmp = new Hmp({ machine, host });
    this.#gdb = gdb;
    this.#hmp = hmp;
    const onFault = (error: unknown) => this.#fail(error);
    for (const { backend, muxed, control, pretty } of characters.monitors) {
      if (control) {
        const now = () => nodeHost.wallClock();
        new QmpLink({
          backend,
          context: { machine, host, hmp },
          package: host.version,
          now,
          pretty,
          onFault,
        });
      } else new MonitorLink({ hmp, version: VERSION, backend, muxed, onFault });
    }
    return hmp;
  }

  async #startWeb(config: WebConfig, hmp: Hmp): Promise<void> {
    const { machine, tap: serial } = this.#options;
    const onFault = (error: unknown) => this.#fail(error);
    const url = await this.#web.start(config, { machine, hmp, serial, onFault });
    process.stdout.write(`web display at ${url}\n`);
  }

  #listen(): void {
    const { machine, config, notice } = this.#options;
    if (config.bootOnce !== undefined) {
      const stop = machine.on('reset', () => {
        stop();
        setBootOrder(machine, config.bootOrder ?? DEFAULT_BOOT_ORDER);
      });
    }
    machine.on('exit', ({ code }) => this.finish(code));
    machine.on('shutdown', () => {
      if (!config.noShutdown) this.finish(0);
    });
    machine.on('io-error', ({ device, operation, error }) => {
      notice(`${device}: ${operation} failed: ${error.message}`);
    });
  }

  /** SIGINT, SIGTERM and SIGHUP end the machine in order, with exit code 0, as QEMU. */
  #handleSignals(): () => void {
    const numbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
    const handlers = Object.entries(numbers).map(([name, number]) => {
      const handler = () => {
        // The sender is not told to us; the parent process is the likely one.
        const parent = commandOf(process.ppid);
        this.#options.notice(`terminating on signal ${number} from pid ${process.ppid} (${parent})`);
        this.finish(0);
      };
      process.on(name, handler);
      return () => process.off(name, handler);
    });
    return () => {
      for (const remove of handlers) remove();
    };
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '<unknown process>';
  }
}
