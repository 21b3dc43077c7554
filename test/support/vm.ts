/**
 * A whole machine for tests: options in words, serial port and screen that can be waited for, typing on both, and errors that say
 * what the guest last showed.
 *
 *     await using vm = await boot({ cdrom: guest('ipxe.iso') });
 *     await vm.screen.waitFor('Ctrl-B');
 *
 * Time is that of -icount without sleep: the guest's waiting costs nothing, and two runs are equal.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { BlockNode } from '../../src/block/block-node.ts';
import { openImage } from '../../src/block/open.ts';
import { encodePng } from '../../src/host/display/png.ts';
import { type Firmware, findFirmware, findKernelRoms, OWN_FIRMWARE_DIR } from '../../src/host/firmware.ts';
import { nodeHost } from '../../src/host/host-services.ts';
import { CS, EIP } from '../../src/machine/cpu/layout.ts';
import { Machine } from '../../src/machine/machine.ts';
import type { DriveOptions, MachineOptions } from '../../src/machine/options.ts';
import type { RunState } from '../../src/machine/run-state.ts';
import type { IcountOptions } from '../../src/machine/virtual-clock.ts';
import { KeyboardLine, ScreenView, SerialLine } from './vm-console.ts';

export type FirmwareName = 'seabios' | 'amberbios';

/** Real time that a wait may take unless it says otherwise, ms. Generous: CI machines are slow and shared. */
const WAIT_MS = 600_000;
const POLL_MS = 10;
/** 2026-01-01: guests see the same date in every run. */
const START_SECONDS = 1_767_225_600;
const FAILURES = join(import.meta.dirname, '../../.cache/failures');

export interface DiskSpec {
  readonly file: string;
  /** Default qcow2. */
  readonly format?: 'raw' | 'qcow2';
  /** Writes reach the file. Default: they are kept in memory and lost. */
  readonly writable?: boolean;
}

export interface BootOptions {
  readonly firmware?: FirmwareName;
  /** MiB; default 128. */
  readonly memory?: number;
  /** Primary master. */
  readonly disk?: string | DiskSpec;
  /** Secondary master. */
  readonly cdrom?: string;
  readonly floppy?: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly bootOrder?: string;
  /** As -cpu; default pentium3. */
  readonly cpuModel?: string;
  readonly noReboot?: boolean;
  /** Default: 8 ns an instruction, no sleep. False: time is the host's. */
  readonly icount?: IcountOptions | false;
  /** Built but not started. */
  readonly paused?: boolean;
}

/** Waits until `condition` gives something; the machine must go on running meanwhile. */
export type Wait = <T>(what: string, condition: () => T | undefined, timeoutMs?: number) => Promise<T>;

export class TestVm {
  readonly machine: Machine;
  readonly serial: SerialLine;
  readonly screen: ScreenView;
  readonly keyboard: KeyboardLine;
  /** Resets since power-on. */
  resets = 0;
  readonly #startedMs = Date.now();

  constructor(machine: Machine, serial: SerialLine) {
    this.machine = machine;
    this.serial = serial;
    const wait: Wait = (what, condition, timeoutMs) => this.#wait(what, condition, timeoutMs);
    serial.attach(machine, wait);
    this.screen = new ScreenView(machine, wait);
    this.keyboard = new KeyboardLine(machine, wait);
    machine.on('reset', () => this.resets++);
  }

  /** Waits for a state of the machine, for example `shutdown` after the guest powered off. */
  async waitForState(state: RunState, timeoutMs?: number): Promise<void> {
    await this.#wait(
      `state ${state}`,
      () => (this.machine.state === state ? true : undefined),
      timeoutMs,
      state,
    );
  }

  async waitForResets(count: number, timeoutMs?: number): Promise<void> {
    await this.#wait(`reset number ${count}`, () => (this.resets >= count ? true : undefined), timeoutMs);
  }

  /** Types a command into the guest's shell on the serial port; gives what it printed. */
  async shell(command: string, timeoutMs?: number): Promise<string> {
    const from = this.serial.text.length;
    // The shell echoes the line: the marks must not be in it as they are printed.
    this.serial.type(`echo "be"gin:; ${command}; echo "do"ne:$?:\n`);
    const match = await this.serial.waitFor(/begin:\r\n([\s\S]*?)done:(\d+):/, timeoutMs, from);
    if (match[2] !== '0') throw this.failure(`'${command}' ended with ${match[2]}`);
    // The kernel may say something of its own in between.
    return match[1]!
      .replaceAll('\r', '')
      .replace(/^\[ *\d+\.\d{6}\] .*\n?/gm, '')
      .trimEnd();
  }

  /** Stops, closes the images. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine.close();
  }

  /** What the guest last showed, and where the CPU is. */
  describe(): string {
    const { machine } = this;
    const { cpu } = machine;
    const seconds = ((Date.now() - this.#startedMs) / 1000).toFixed(1);
    const rows = this.screen.text.split('\n').filter((row) => row.trim() !== '');
    return [
      `state ${machine.state}, ${(cpu.instructions / 1e6).toFixed(1)} M instructions in ${seconds} s, ` +
        `virtual time ${(machine.clock.now() / 1e9).toFixed(3)} s, resets ${this.resets}`,
      `CS:EIP ${cpu.selector(CS).toString(16)}:${(cpu.get(EIP) >>> 0).toString(16)}, halted ${cpu.halted}`,
      '--- end of serial output',
      this.serial.text.split('\n').slice(-12).join('\n'),
      `--- screen ${this.screen.size}`,
      ...rows,
    ].join('\n');
  }

  /** An error with all that helps; the screen is kept as a PNG file. */
  failure(message: string): Error {
    const file = join(
      FAILURES,
      `${basename(message)
        .replace(/[^\w-]+/g, '_')
        .slice(0, 60)}-${process.pid}.png`,
    );
    mkdirSync(FAILURES, { recursive: true });
    this.screen.screenshot(file);
    return new Error(`${message}\n${this.describe()}\n--- picture: ${file}`);
  }

  async #wait<T>(
    what: string,
    condition: () => T | undefined,
    timeoutMs: number = WAIT_MS,
    mayStop: RunState = 'running',
  ): Promise<T> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const found = condition();
      if (found !== undefined) return found;
      const { state } = this.machine;
      if (state !== 'running' && state !== mayStop)
        throw this.failure(`waiting for ${what}: the machine stopped`);
      if (Date.now() > deadline) throw this.failure(`waiting for ${what}: nothing in ${timeoutMs / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}

/** Builds a machine and starts it. */
export async function boot(options: BootOptions = {}): Promise<TestVm> {
  const serial = new SerialLine();
  const firmware = await loadFirmware(options.firmware ?? 'seabios');
  const machine = await Machine.create({
    ramBytes: (options.memory ?? 128) << 20,
    bios: firmware.bios,
    ...(firmware.vgaRom === undefined ? {} : { vgaRom: firmware.vgaRom }),
    ...(options.kernel === undefined ? {} : await kernelOptions(options.kernel, options)),
    ...(options.bootOrder === undefined ? {} : { bootOrder: options.bootOrder }),
    ...(options.cpuModel === undefined ? {} : { cpuModel: options.cpuModel }),
    ...(options.noReboot === undefined ? {} : { noReboot: options.noReboot }),
    ...(options.icount === false ? {} : { icount: options.icount ?? { shift: 3, sleep: false } }),
    vga: 'std',
    drives: await openDrives(options),
    serials: [serial],
    rtc: { baseSeconds: START_SECONDS, clock: 'vm' },
    host: nodeHost,
  });
  const vm = new TestVm(machine, serial);
  if (options.paused !== true) machine.start();
  return vm;
}

function loadFirmware(name: FirmwareName): Promise<Firmware> {
  return findFirmware(name === 'amberbios' ? { bios: join(OWN_FIRMWARE_DIR, 'amberbios.bin') } : {});
}

async function kernelOptions(kernel: string, options: BootOptions): Promise<Partial<MachineOptions>> {
  return {
    kernel: { name: basename(kernel), data: readFileSync(kernel) },
    commandLine: options.append ?? '',
    kernelRoms: await findKernelRoms(),
    ...(options.initrd === undefined ? {} : { initrd: readFileSync(options.initrd) }),
  };
}

async function openDrives(options: BootOptions): Promise<DriveOptions[]> {
  const drives: DriveOptions[] = [];
  const { disk, cdrom, floppy } = options;
  if (disk !== undefined) {
    const node = await openDisk(typeof disk === 'string' ? { file: disk } : disk);
    drives.push({ device: 'ide0-hd0', kind: 'disk', index: 0, node });
  }
  if (cdrom !== undefined) {
    const node = await openImage(cdrom, { format: 'raw', readOnly: true });
    drives.push({ device: 'ide1-cd0', kind: 'cdrom', index: 2, node });
  }
  if (floppy !== undefined) {
    const node = await openImage(floppy, { format: 'raw', snapshot: true });
    drives.push({ device: 'floppy0', kind: 'floppy', index: 0, node });
  }
  return drives;
}

function openDisk({ file, format = 'qcow2', writable = false }: DiskSpec): Promise<BlockNode> {
  return openImage(file, { format, snapshot: !writable });
}

/** Writes the screen as PNG. */
export function writeScreenshot(machine: Machine, file: string): void {
  const surface = machine.screen?.render();
  if (surface !== undefined) writeFileSync(file, encodePng(surface.width, surface.height, surface.rgb));
}
