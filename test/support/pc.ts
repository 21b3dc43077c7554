/** Our machine as the reference machine, with the same handles as the real QEMU (qemu.ts): both play the same scenes. */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type OpenImageOptions, openImage } from '../../src/block/open.ts';
import { nodeHost } from '../../src/host/host-services.ts';
import { toRecord } from '../../src/machine/cpu/cpu-record.ts';
import type { CpuRecord, SegmentRecord } from '../../src/machine/cpu/vmstate.ts';
import { Machine } from '../../src/machine/machine.ts';
import type { DriveOptions } from '../../src/machine/options.ts';
import type { IcountOptions } from '../../src/machine/virtual-clock.ts';
import { SEABIOS, VGABIOS } from './qemu.ts';
import { SerialText } from './serial-text.ts';

export interface PcOptions {
  readonly memoryMiB: number;
  readonly image?: string;
  readonly cdrom?: string;
  readonly kernel?: { readonly file: string; readonly initrd: string; readonly append: string };
  readonly loadvm?: string;
  readonly stopped?: boolean;
  readonly icount?: IcountOptions;
  /** Date at power-on, seconds since 1970; default: now. */
  readonly date?: number;
  /** How the image is opened. */
  readonly open?: OpenImageOptions;
  readonly vga?: 'std' | 'none';
  /** More drives. */
  readonly drives?: readonly DriveOptions[];
}

/** The kernel's loader; part of the project. */
const kernelRom = (name: string) => new URL(`../../images/firmware/${name}.bin`, import.meta.url);

export class Pc implements AsyncDisposable {
  readonly machine: Machine;
  readonly serial: SerialText;

  private constructor(machine: Machine, serial: SerialText) {
    this.machine = machine;
    this.serial = serial;
  }

  static async start(options: PcOptions): Promise<Pc> {
    const pending: number[] = [];
    let machine: Machine | undefined;
    const feed = (): void => {
      const receiver = machine!.serial(0)!.receiver;
      while (pending.length > 0 && receiver.canReceive() > 0) receiver.receive(pending.shift()!);
      machine!.wake();
    };
    const serial = new SerialText((bytes) => {
      pending.push(...bytes);
      feed();
    });
    const sink = {
      write: (byte: number) => {
        serial.receiveByte(byte);
        return true;
      },
    };
    const { kernel } = options;
    machine = await Machine.create({
      ramBytes: options.memoryMiB * 2 ** 20,
      bios: { name: 'bios-256k.bin', data: readFileSync(SEABIOS) },
      vgaRom: readFileSync(VGABIOS),
      vga: options.vga ?? 'std',
      drives: await drivesOf(options),
      serials: [sink],
      rtc: {
        baseSeconds: options.date ?? Math.floor(Date.now() / 1000),
        clock: options.icount === undefined ? 'host' : 'vm',
      },
      host: nodeHost,
      ...(options.icount === undefined ? {} : { icount: options.icount }),
      ...(kernel === undefined
        ? {}
        : {
            kernel: { name: kernel.file, data: readFileSync(kernel.file) },
            initrd: readFileSync(kernel.initrd),
            commandLine: kernel.append,
            kernelRoms: {
              linux: readFileSync(kernelRom('linuxboot')),
              multiboot: readFileSync(kernelRom('multiboot')),
            },
          }),
    });
    machine.serial(0)!.receiver.onReady = () => setImmediate(feed);
    const pc = new Pc(machine, serial);
    try {
      if (options.loadvm !== undefined) await machine.loadvm(options.loadvm);
    } catch (error) {
      await machine.close();
      throw error;
    }
    if (!options.stopped) machine.start();
    return pc;
  }

  async pause(): Promise<void> {
    await this.machine.pause();
  }
  async resume(): Promise<void> {
    this.machine.start();
  }
  async savevm(tag: string): Promise<void> {
    await this.machine.savevm(tag);
  }
  async loadvm(tag: string): Promise<void> {
    await this.machine.loadvm(tag);
  }

  async sendKeys(keys: readonly string[]): Promise<void> {
    for (const combination of keys) {
      const parts = combination.split('-');
      for (const key of parts) this.machine.keyboard.key(key, true);
      this.machine.wake();
      await delay(20);
      for (const key of parts.reverse()) this.machine.keyboard.key(key, false);
      this.machine.wake();
      // A PS/2 keyboard holds 16 bytes: a guest on a busy host needs time to fetch them.
      await delay(150);
    }
  }

  async readMemory(address: number, bytes: number): Promise<Uint8Array> {
    const target = new Uint8Array(bytes);
    this.machine.memory.read(address, target);
    return target;
  }

  async registers(): Promise<Map<string, string>> {
    return registersOf(toRecord(this.machine.cpu), this.machine.cpu.halted);
  }

  async status(): Promise<string> {
    return this.machine.state;
  }

  async quit(): Promise<void> {
    await this.machine.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.quit();
  }
}

async function drivesOf(options: PcOptions): Promise<DriveOptions[]> {
  const drives: DriveOptions[] = [];
  const { image, cdrom } = options;
  if (image !== undefined) {
    drives.push({ device: 'ide0-hd0', kind: 'disk', index: 0, node: await openImage(image, options.open) });
  }
  if (cdrom !== undefined) {
    const node = await openImage(cdrom, { readOnly: true, format: 'raw' });
    drives.push({ device: 'ide1-cd0', kind: 'cdrom', index: 2, node });
  }
  return [...drives, ...(options.drives ?? [])];
}

const hex = (value: number, digits = 8): string => (value >>> 0).toString(16).padStart(digits, '0');

/** As `info registers` shows them. */
export function registersOf(record: CpuRecord, halted: boolean): Map<string, string> {
  const found = new Map<string, string>();
  ['EAX', 'ECX', 'EDX', 'EBX', 'ESP', 'EBP', 'ESI', 'EDI'].forEach((name, i) => {
    found.set(name, hex(record.regs[i]!));
  });
  found
    .set('EIP', hex(record.eip))
    .set('EFL', hex(record.eflags))
    .set('HLT', halted ? '1' : '0');
  const segment = ({ selector, base, limit, flags }: SegmentRecord): string =>
    [hex(selector, 4), hex(base), hex(limit), hex(flags & 0xffff00)].join(' ');
  ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'].forEach((name, i) => {
    found.set(name, segment(record.segs[i]!));
  });
  found.set('LDT', segment(record.ldt)).set('TR', segment(record.tr));
  found.set('GDT', `${hex(record.gdt.base)} ${hex(record.gdt.limit)}`);
  found.set('IDT', `${hex(record.idt.base)} ${hex(record.idt.limit)}`);
  found.set('CR0', hex(record.cr0)).set('CR2', hex(record.cr2));
  found.set('CR3', hex(record.cr3)).set('CR4', hex(record.cr4));
  for (const n of [0, 1, 2, 3, 6, 7]) found.set(`DR${n}`, hex(record.dr[n]!));
  found.set('FCW', hex(record.fpuc, 4)).set('MXCSR', hex(record.mxcsr));
  record.fpregs.forEach(({ mantissa, exponent }, i) => {
    found.set(`FPR${i}`, `${mantissa.toString(16).padStart(16, '0')} ${hex(exponent, 4)}`);
  });
  record.xmm.forEach(({ low, high }, i) => {
    const digits = (value: bigint): string => value.toString(16).padStart(16, '0');
    found.set(`XMM0${i}`, `${digits(high)} ${digits(low)}`);
  });
  return found;
}
