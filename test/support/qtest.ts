/**
 * QEMU as a box of devices: port and memory accesses from the test, no guest code.
 *
 * Speaks QEMU's qtest protocol (softmmu/qtest.c) on standard input and output, and QMP on a Unix socket. The
 * accelerator is TCG with the CPU stopped, since distributions do not ship the qtest accelerator: virtual time stands
 * still at 0 and clock_step is not available.
 *
 * Writes are queued and sent together at the next read or sync(): a mode set is one round trip.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

/** Machine of the reference command in the documentation, without drives. */
const MACHINE = ['-M', 'pc-i440fx-7.2,hpet=off,vmport=off', '-cpu', 'pentium3', '-accel', 'tcg', '-m', '128'];
const QMP_ATTEMPTS = 200;

interface Waiting {
  resolve(answer: string): void;
  reject(error: Error): void;
}

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** R, G, B bytes, row by row. */
  readonly rgb: Uint8Array;
}

/** Parses a binary pixmap as `screendump` writes it. */
export function parsePpm(file: Uint8Array): Picture {
  const header = /^P6\n(\d+) (\d+)\n255\n/.exec(Buffer.from(file.subarray(0, 64)).toString('latin1'));
  if (!header) throw new Error('not a P6 pixmap of 8 bits');
  return { width: Number(header[1]), height: Number(header[2]), rgb: file.subarray(header[0].length) };
}

export class QtestMachine implements AsyncDisposable {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #folder: string;
  readonly #waiting: Waiting[] = [];
  readonly #qmpWaiting: Waiting[] = [];
  /** IRQ levels as reported since {@link interceptIrqs}; index: line number. */
  readonly irqLevels: number[] = [];
  /** Number of reports for each line. */
  readonly irqChanges: number[] = [];
  #pending: string = '';
  #pendingCount: number = 0;
  #errors: string = '';
  #qmp: Socket | undefined;
  #closed: boolean = false;

  private constructor(args: readonly string[]) {
    this.#folder = mkdtempSync(join(tmpdir(), 'ambervm-qtest-'));
    const control = [
      '-qtest',
      'stdio',
      '-qtest-log',
      'none',
      '-qmp',
      `unix:${this.#folder}/qmp,server=on,wait=off`,
    ];
    const fixed = ['-S', '-nodefaults', '-no-user-config', '-display', 'none'];
    this.#process = spawn('qemu-system-i386', [...MACHINE, ...fixed, ...control, ...args]);
    this.#process.stderr.on('data', (data) => {
      this.#errors += data;
    });
    this.#process.on('exit', () => this.#fail(new Error(`QEMU ended: ${this.#errors}`)));
    this.#process.stdin.on('error', () => {});
    createInterface({ input: this.#process.stdout }).on('line', (line) => this.#receive(line));
  }

  /** Starts qemu-system-i386 with more arguments, for example `['-device', 'VGA,romfile=']`. */
  static async start(args: readonly string[] = []): Promise<QtestMachine> {
    const machine = new QtestMachine(args);
    await machine.#connectQmp();
    return machine;
  }

  #fail(error: Error): void {
    for (const each of this.#waiting.splice(0)) each.reject(error);
    for (const each of this.#qmpWaiting.splice(0)) each.reject(error);
  }

  #receive(line: string): void {
    if (line.startsWith('IRQ ')) {
      const [, verb, number] = line.split(' ');
      this.irqLevels[Number(number)] = verb === 'raise' ? 1 : 0;
      this.irqChanges[Number(number)] = (this.irqChanges[Number(number)] ?? 0) + 1;
      return;
    }
    const waiting = this.#waiting.shift();
    if (line.startsWith('OK')) waiting?.resolve(line.slice(3));
    else waiting?.reject(new Error(`qtest: ${line}`));
  }

  #queue(command: string): void {
    this.#pending += `${command}\n`;
    this.#pendingCount++;
  }

  /** Sends one command after all that are queued and gives its answer. */
  async command(command: string): Promise<string> {
    this.#queue(command);
    const text = this.#pending;
    const answers: Promise<string>[] = [];
    for (let i = 0; i < this.#pendingCount; i++) {
      answers.push(new Promise((resolve, reject) => this.#waiting.push({ resolve, reject })));
    }
    this.#pending = '';
    this.#pendingCount = 0;
    this.#process.stdin.write(text);
    const all = await Promise.all(answers);
    return all.at(-1)!;
  }

  /** Waits until everything queued has been done. */
  async sync(): Promise<void> {
    await this.command('endianness');
  }

  outb(port: number, value: number): void {
    this.#queue(`outb ${port} ${value}`);
  }

  outw(port: number, value: number): void {
    this.#queue(`outw ${port} ${value}`);
  }

  outl(port: number, value: number): void {
    this.#queue(`outl ${port} ${value >>> 0}`);
  }

  async inb(port: number): Promise<number> {
    return Number(await this.command(`inb ${port}`));
  }

  async inw(port: number): Promise<number> {
    return Number(await this.command(`inw ${port}`));
  }

  async inl(port: number): Promise<number> {
    return Number(await this.command(`inl ${port}`));
  }

  writeb(address: number, value: number): void {
    this.#queue(`writeb ${address} ${value}`);
  }

  writew(address: number, value: number): void {
    this.#queue(`writew ${address} ${value}`);
  }

  writel(address: number, value: number): void {
    this.#queue(`writel ${address} ${value >>> 0}`);
  }

  async readb(address: number): Promise<number> {
    return Number(await this.command(`readb ${address}`));
  }

  async readw(address: number): Promise<number> {
    return Number(await this.command(`readw ${address}`));
  }

  async readl(address: number): Promise<number> {
    return Number(await this.command(`readl ${address}`));
  }

  /** Writes bytes to guest-physical memory, in pieces of at most 4 KiB. */
  write(address: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += 4096) {
      const part = Buffer.from(bytes.subarray(at, at + 4096));
      this.#queue(`write ${address + at} ${part.length} 0x${part.toString('hex')}`);
    }
  }

  async read(address: number, length: number): Promise<Uint8Array> {
    const answer = await this.command(`read ${address} ${length}`);
    return Uint8Array.from(Buffer.from(answer.slice(2), 'hex'));
  }

  /** Reads a PCI configuration register of bus 0 (32 bits). */
  async pciRead(slot: number, offset: number, pciFunction: number = 0): Promise<number> {
    this.outl(0xcf8, 0x80000000 | (slot << 11) | (pciFunction << 8) | offset);
    return this.inl(0xcfc);
  }

  pciWrite(slot: number, offset: number, value: number, pciFunction: number = 0): void {
    this.outl(0xcf8, 0x80000000 | (slot << 11) | (pciFunction << 8) | offset);
    this.outl(0xcfc, value);
  }

  /** Reports input lines of a device (a QOM path or its end: `ioapic`) in irqLevels. */
  async interceptIrqs(qomPath: string): Promise<void> {
    await this.command(`irq_intercept_in ${qomPath}`);
  }

  async #connectQmp(): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        this.#qmp = await this.#tryQmp();
        break;
      } catch (error) {
        if (attempt === QMP_ATTEMPTS || this.#process.exitCode !== null) {
          throw new Error(`no QMP: ${this.#errors}`, { cause: error });
        }
        await delay(20);
      }
    }
    createInterface({ input: this.#qmp }).on('line', (line) => {
      const message = JSON.parse(line) as Record<string, unknown>;
      if ('return' in message) this.#qmpWaiting.shift()?.resolve(JSON.stringify(message['return']));
      if ('error' in message) this.#qmpWaiting.shift()?.reject(new Error(`QMP: ${line}`));
    });
    await this.qmp('qmp_capabilities');
  }

  #tryQmp(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(join(this.#folder, 'qmp'));
      socket.once('connect', () => resolve(socket));
      socket.once('error', reject);
    });
  }

  /** Runs a QMP command and gives what it returns. */
  async qmp(execute: string, args: object = {}): Promise<unknown> {
    const answer = new Promise<string>((resolve, reject) => this.#qmpWaiting.push({ resolve, reject }));
    this.#qmp!.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    return JSON.parse(await answer);
  }

  /** The screen. */
  async screendump(): Promise<Picture> {
    await this.sync();
    const filename = join(this.#folder, 'screen.ppm');
    await this.qmp('screendump', { filename });
    return parsePpm(await readFile(filename));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#qmp?.destroy();
    const { exitCode } = this.#process;
    if (exitCode === null) {
      const ended = new Promise((resolve) => this.#process.once('exit', resolve));
      this.#process.kill('SIGKILL');
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
