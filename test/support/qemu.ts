/**
 * A real qemu-system-i386 to exchange snapshots with: the reference machine, driven by QMP on a Unix socket, COM1 on
 * another. Everything has a time limit, and the process is gone when the object is disposed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { requireProgram } from './programs.ts';
import { SerialText } from './serial-text.ts';

export const hasQemu: boolean = requireProgram('qemu-system-i386');

/** Debian's SeaBIOS, for our machine too: the RAM blocks of its ROMs must match. */
export const SEABIOS = '/usr/share/seabios/bios-256k.bin';
export const VGABIOS = '/usr/share/seabios/vgabios-stdvga.bin';
export const hasSeabios: boolean = existsSync(SEABIOS) && existsSync(VGABIOS);

const REFERENCE = ['-M', 'pc-i440fx-7.2,hpet=off,vmport=off', '-cpu', 'pentium3', '-accel', 'tcg'];
const START_MS = 10_000;
const COMMAND_MS = 60_000;

export interface QemuOptions {
  readonly memoryMiB: number;
  /** qcow2, first IDE disk. */
  readonly image?: string;
  /** Second IDE disk, raw or qcow2 by its name. */
  readonly cdrom?: string;
  readonly kernel?: { readonly file: string; readonly initrd: string; readonly append: string };
  readonly loadvm?: string;
  /** Start stopped. */
  readonly stopped?: boolean;
  readonly more?: readonly string[];
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class Qemu implements AsyncDisposable {
  readonly serial: SerialText = new SerialText((bytes) => this.#serial?.write(bytes));
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #waiting: Waiting[] = [];
  #qmp: Socket | undefined;
  #serial: Socket | undefined;
  #errors = '';
  #received = '';

  private constructor(options: QemuOptions) {
    this.#folder = mkdtempSync(join(tmpdir(), 'ambervm-qemu-'));
    this.#process = spawn('qemu-system-i386', this.#arguments(options), {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process.stderr!.on('data', (data) => {
      this.#errors += data;
    });
    this.#process.on('exit', () => this.#fail(new Error(`QEMU ended: ${this.#errors}`)));
  }

  static async start(options: QemuOptions): Promise<Qemu> {
    const qemu = new Qemu(options);
    try {
      qemu.#serial = await qemu.#connect('serial');
      qemu.#serial.on('data', (data: Buffer) => qemu.serial.receive(data));
      qemu.#qmp = await qemu.#connect('qmp');
      qemu.#qmp.on('data', (data: Buffer) => qemu.#receive(data.toString()));
      await qemu.qmp('qmp_capabilities');
    } catch (error) {
      await qemu[Symbol.asyncDispose]();
      throw error;
    }
    return qemu;
  }

  #arguments(options: QemuOptions): string[] {
    const list = [
      ...REFERENCE,
      '-m',
      String(options.memoryMiB),
      '-nodefaults',
      '-no-user-config',
      '-vga',
      'std',
    ];
    list.push('-display', 'none', '-bios', SEABIOS);
    // The clients connect before the machine starts: no byte of COM1 is lost.
    list.push('-qmp', `unix:${this.#folder}/qmp,server=on,wait=off`);
    list.push('-serial', `unix:${this.#folder}/serial,server=on,wait=on`);
    if (options.image !== undefined) list.push('-drive', `file=${options.image},format=qcow2,if=ide,index=0`);
    if (options.cdrom !== undefined) {
      list.push('-drive', `file=${options.cdrom},format=raw,if=ide,index=2,media=cdrom,readonly=on`);
    }
    if (options.kernel !== undefined) {
      const { file, initrd, append } = options.kernel;
      list.push('-kernel', file, '-initrd', initrd, '-append', append);
    }
    if (options.loadvm !== undefined) list.push('-loadvm', options.loadvm);
    if (options.stopped) list.push('-S');
    return [...list, ...(options.more ?? [])];
  }

  async #connect(name: string): Promise<Socket> {
    const end = Date.now() + START_MS;
    for (;;) {
      try {
        return await new Promise<Socket>((resolve, reject) => {
          const socket = createConnection(join(this.#folder, name));
          socket.once('connect', () => resolve(socket));
          socket.once('error', reject);
        });
      } catch (error) {
        if (Date.now() > end || this.#process.exitCode !== null) {
          throw new Error(`QEMU does not start: ${this.#errors}`, { cause: error });
        }
        await delay(20);
      }
    }
  }

  #fail(error: Error): void {
    for (const each of this.#waiting.splice(0)) each.reject(error);
  }

  #receive(text: string): void {
    this.#received += text;
    for (let end = this.#received.indexOf('\n'); end >= 0; end = this.#received.indexOf('\n')) {
      const message = JSON.parse(this.#received.slice(0, end)) as Record<string, unknown>;
      this.#received = this.#received.slice(end + 1);
      if ('return' in message) this.#waiting.shift()?.resolve(message['return']);
      if ('error' in message) {
        this.#waiting.shift()?.reject(new Error(`QMP: ${JSON.stringify(message['error'])}`));
      }
    }
  }

  async qmp(execute: string, args: object = {}): Promise<unknown> {
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#qmp!.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    const limit = new AbortController();
    const tooLong = delay(COMMAND_MS, undefined, { signal: limit.signal, ref: false }).then(() => {
      throw new Error(`QMP: no answer to ${execute}`);
    });
    tooLong.catch(() => {});
    try {
      return await Promise.race([answer, tooLong]);
    } finally {
      limit.abort();
    }
  }

  /** A monitor command; gives what it prints. */
  async hmp(command: string): Promise<string> {
    return (await this.qmp('human-monitor-command', { 'command-line': command })) as string;
  }

  /** A monitor command that prints nothing unless it fails. */
  async hmpQuiet(command: string): Promise<void> {
    const printed = await this.hmp(command);
    if (printed !== '') throw new Error(`${command}: ${printed}`);
  }

  async pause(): Promise<void> {
    await this.qmp('stop');
  }
  async resume(): Promise<void> {
    await this.qmp('cont');
  }
  async savevm(tag: string): Promise<void> {
    await this.hmpQuiet(`savevm ${tag}`);
  }
  async loadvm(tag: string): Promise<void> {
    await this.hmpQuiet(`loadvm ${tag}`);
  }
  /** `ret`, `ctrl-x`, `a`: one key after the other. */
  async sendKeys(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      await this.hmpQuiet(`sendkey ${key} 20`);
      // A PS/2 keyboard holds 16 bytes: a guest on a busy host needs time to fetch them.
      await delay(150);
    }
  }

  /** Guest-physical memory. */
  async readMemory(address: number, bytes: number): Promise<Uint8Array> {
    const file = join(this.#folder, 'memory');
    await this.hmpQuiet(`pmemsave ${address} ${bytes} "${file}"`);
    return readFileSync(file);
  }

  /** General, control and segment registers by QEMU's names: numbers; segments as `selector base limit flags`. */
  async registers(): Promise<Map<string, string>> {
    return parseRegisters(await this.hmp('info registers'));
  }

  async status(): Promise<string> {
    return ((await this.qmp('query-status')) as { status: string }).status;
  }

  async quit(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => this.#process.once('exit', () => resolve()));
    this.#qmp?.write('{"execute":"quit"}\n');
    const killer = setTimeout(() => this.#process.kill('SIGKILL'), 5_000);
    await gone;
    clearTimeout(killer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#qmp === undefined) this.#process.kill('SIGKILL');
    await this.quit();
    this.#qmp?.destroy();
    this.#serial?.destroy();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The registers of `info registers` that have a name and a hexadecimal value. */
export function parseRegisters(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, name, value] of text.matchAll(
    /\b(E[A-Z]{2}|CR[0-4]|DR[0-7]|EFL|HLT|FCW|MXCSR)=\s*([0-9a-f]+)/g,
  )) {
    found.set(name!, value!);
  }
  for (const [, name, values] of text.matchAll(/^([CDEFGS]S|LDT|TR) ?=(([0-9a-f]{4,8} ?){4})/gm)) {
    found.set(name!.trim(), values!.trim());
  }
  for (const [, name, values] of text.matchAll(/^([GI]DT)= +(([0-9a-f]{8} ?){2})/gm)) {
    found.set(name!, values!.trim());
  }
  for (const [, number, value] of text.matchAll(/\b(XMM\d\d|FPR\d)=([0-9a-f ]+?)(?= XMM| FPR|$)/gm)) {
    found.set(number!, value!.trim());
  }
  return found;
}
