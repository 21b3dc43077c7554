/** A running emulator: its serial lines with the time each arrived, its monitor, its CPU time. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { Emulator, VmSpec } from '../emulators/emulator.ts';

export interface SerialLine {
  /** Seconds since the process was started. */
  readonly at: number;
  readonly text: string;
}

const MONITOR_TRIES = 1000;
const MONITOR_RETRY_MS = 10;
const MONITOR_TIMEOUT_MS = 120_000;
const STDERR_KEPT = 4000;

/** Processes to end when the benchmark is broken off. */
const running = new Set<ChildProcess>();

/** Ends all emulators at once. */
export function killAll(): void {
  for (const child of running) child.kill('SIGKILL');
}

export class Vm {
  readonly lines: SerialLine[] = [];
  readonly #child: ChildProcess;
  readonly #started = performance.now();
  readonly #name: string;
  #partial = '';
  #errors = '';
  #monitor: Socket | undefined;
  #monitorText = '';
  #onMonitor: (() => void) | undefined;
  #onLine: (() => void) | undefined;
  #exited = false;
  /** Called with each line at once, before anybody who waits for it. */
  onSerialLine: (line: SerialLine) => void = () => {};

  constructor(emulator: Emulator, spec: VmSpec, verbose = false) {
    const [program, ...args] = emulator.command(spec);
    this.#name = emulator.name;
    this.#child = spawn(program!, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdout!.on('data', (bytes: Buffer) => this.#receive(bytes.toString('latin1'), verbose));
    this.#child.stderr!.on('data', (bytes: Buffer) => {
      this.#errors = (this.#errors + bytes.toString()).slice(-STDERR_KEPT);
    });
    this.#child.on('error', (error) => {
      this.#errors += error.message;
    });
    running.add(this.#child);
    this.#child.on('close', () => {
      running.delete(this.#child);
      this.#exited = true;
      this.#onLine?.();
      this.#onMonitor?.();
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }
  /** Seconds since the process was started. */
  get now(): number {
    return (performance.now() - this.#started) / 1000;
  }

  #receive(text: string, verbose: boolean): void {
    const at = this.now;
    const parts = (this.#partial + text).split('\n');
    this.#partial = parts.pop()!;
    for (const part of parts) {
      const line = { at, text: part.replaceAll('\r', '') };
      this.lines.push(line);
      this.onSerialLine(line);
      if (verbose) process.stderr.write(`[${this.#name} ${at.toFixed(3)}] ${part}\n`);
    }
    this.#onLine?.();
  }

  #fail(what: string): Error {
    const state = this.#exited ? `ended with ${this.#child.exitCode ?? this.#child.signalCode}` : 'is silent';
    const last = this.lines
      .slice(-3)
      .map((line) => line.text)
      .join(' | ');
    return new Error(
      `${this.#name} ${state}, waiting for ${what}; last lines: ${last}; ${this.#errors.trim()}`,
    );
  }

  /** The first line from index `from` on that `wanted` accepts. Fails when none came for `timeoutMs` or the process ended. */
  async line(
    what: string,
    wanted: (line: SerialLine) => boolean,
    from = 0,
    timeoutMs = 120_000,
  ): Promise<{ readonly line: SerialLine; readonly index: number }> {
    for (let index = from; ; index++) {
      while (index >= this.lines.length) {
        if (this.#exited || !(await this.#nextLine(timeoutMs))) throw this.#fail(what);
      }
      const line = this.lines[index]!;
      if (wanted(line)) return { line, index };
    }
  }

  /** False: none came in time. */
  async #nextLine(timeoutMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const came = await new Promise<boolean>((resolve) => {
      this.#onLine = () => resolve(true);
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    clearTimeout(timer);
    this.#onLine = undefined;
    return came;
  }

  async connectMonitor(path: string): Promise<void> {
    for (let i = 0; ; i++) {
      const socket = connect(path);
      try {
        await once(socket, 'connect');
        this.#monitor = socket;
        break;
      } catch (error) {
        if (i === MONITOR_TRIES || this.#exited) throw this.#fail(`the monitor (${error})`);
        await delay(MONITOR_RETRY_MS);
      }
    }
    this.#monitor.on('error', () => {});
    this.#monitor.on('data', (bytes) => {
      this.#monitorText += bytes.toString('latin1');
      this.#onMonitor?.();
    });
    await this.#prompt();
  }

  /** Runs a monitor command to its next prompt; returns what it printed, without the echo. */
  async monitor(command: string): Promise<string> {
    this.#monitorText = '';
    this.#monitor!.write(`${command}\n`);
    const text = await this.#prompt();
    const output = text.slice(text.indexOf('\n') + 1, text.lastIndexOf('('));
    return output.trim();
  }

  async #prompt(): Promise<string> {
    let timer: NodeJS.Timeout | undefined;
    let isLate = false;
    while (!/\(\w+\) $/.test(this.#monitorText)) {
      if (this.#exited || isLate) throw this.#fail('the prompt of the monitor');
      await new Promise<void>((resolve) => {
        this.#onMonitor = resolve;
        timer ??= setTimeout(() => {
          isLate = true;
          this.#onMonitor?.();
        }, MONITOR_TIMEOUT_MS);
      });
    }
    clearTimeout(timer);
    return this.#monitorText;
  }

  /** Types on the serial port. */
  send(text: string): void {
    this.#child.stdin!.write(text);
  }

  /** Ends the process: by the monitor if there is one, so that images are closed. */
  async end(): Promise<void> {
    if (this.#exited) return;
    const closed = once(this.#child, 'close');
    if (this.#monitor === undefined) this.#child.kill('SIGTERM');
    else this.#monitor.write('quit\n');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 20_000);
    await closed;
    clearTimeout(timer);
    this.#monitor?.destroy();
  }
}

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
