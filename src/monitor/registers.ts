/** Registers by the names that the monitor knows (`p $eax`), and memory as the guest's programs see it. */
import * as L from '../machine/cpu/layout.ts';
import type { CpuState } from '../machine/cpu/cpu-state.ts';

const GENERAL = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'];
const CS = 1;
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];
const OTHER_NAMES: Readonly<Record<string, string>> = { sp: 'esp', fp: 'ebp' };
const CONTROL: Readonly<Record<string, number>> = { cr0: L.CR0, cr2: L.CR2, cr3: L.CR3, cr4: L.CR4 };

export function registerValue(cpu: CpuState, name: string): bigint | undefined {
  const plain = OTHER_NAMES[name] ?? name;
  const unsigned = (value: number) => BigInt(value >>> 0);
  const general = GENERAL.indexOf(plain);
  if (general >= 0) return unsigned(cpu.reg32(general));
  // QEMU's is linear, and sign-extended.
  if (plain === 'pc') return BigInt((cpu.segBase(CS) + cpu.get(L.EIP)) | 0);
  if (plain === 'eip') return unsigned(cpu.get(L.EIP));
  if (plain === 'eflags') return unsigned(cpu.eflags());
  const control = CONTROL[plain];
  if (control !== undefined) return unsigned(cpu.get(control));
  const [segment = '', part] = plain.split('.');
  const index = SEGMENTS.indexOf(segment);
  if (index < 0) return undefined;
  if (part === undefined) return unsigned(cpu.selector(index));
  if (part === 'base') return unsigned(cpu.segBase(index));
  if (part === 'limit') return unsigned(cpu.segLimit(index));
  return undefined;
}

const CR0_PG = 0x8000_0000;
const CR4_PSE = 0x10;
const CR4_PAE = 0x20;
const PRESENT = 1;
const LARGE = 0x80;

/** Physical address of a linear one by the guest's page tables, without marking them; undefined: not mapped. */
export function debugTranslate(cpu: CpuState, linear: number): number | undefined {
  if ((cpu.get(L.CR0) & CR0_PG) === 0) return linear >>> 0;
  const read = (address: number) => cpu.mem.read32(address >>> 0) >>> 0;
  const cr3 = cpu.get(L.CR3) >>> 0;
  if ((cpu.get(L.CR4) & CR4_PAE) !== 0) return translatePae(cr3, linear, read);
  const directory = read((cr3 & 0xfffff000) + (linear >>> 22) * 4);
  if ((directory & PRESENT) === 0) return undefined;
  if ((directory & LARGE) !== 0 && (cpu.get(L.CR4) & CR4_PSE) !== 0) {
    return ((directory & 0xffc00000) | (linear & 0x3fffff)) >>> 0;
  }
  const page = read((directory & 0xfffff000) + ((linear >>> 12) & 0x3ff) * 4);
  return (page & PRESENT) === 0 ? undefined : ((page & 0xfffff000) | (linear & 0xfff)) >>> 0;
}

function translatePae(cr3: number, linear: number, read: (address: number) => number): number | undefined {
  const pointer = read((cr3 & 0xffffffe0) + (linear >>> 30) * 8);
  if ((pointer & PRESENT) === 0) return undefined;
  const directory = read((pointer & 0xfffff000) + ((linear >>> 21) & 0x1ff) * 8);
  if ((directory & PRESENT) === 0) return undefined;
  if ((directory & LARGE) !== 0) return ((directory & 0xffe00000) | (linear & 0x1fffff)) >>> 0;
  const page = read((directory & 0xfffff000) + ((linear >>> 12) & 0x1ff) * 8);
  return (page & PRESENT) === 0 ? undefined : ((page & 0xfffff000) | (linear & 0xfff)) >>> 0;
}

const PAGE = 4096;

/** Bytes at a linear address; false where a page is not mapped. */
export function readVirtual(cpu: CpuState, linear: number, target: Uint8Array): boolean {
  return eachPage(cpu, linear, target, (physical, part) => cpu.mem.read(physical, part));
}

/** Writes bytes at a linear address, page protection aside; false where a page is not mapped. */
export function writeVirtual(cpu: CpuState, linear: number, source: Uint8Array): boolean {
  return eachPage(cpu, linear, source, (physical, part) => cpu.mem.write(physical, part));
}

function eachPage(
  cpu: CpuState,
  linear: number,
  target: Uint8Array,
  action: (physical: number, part: Uint8Array) => void,
): boolean {
  for (let done = 0; done < target.length; ) {
    const at = (linear + done) >>> 0;
    const length = Math.min(target.length - done, PAGE - (at & (PAGE - 1)));
    const physical = debugTranslate(cpu, at);
    if (physical === undefined) return false;
    action(physical, target.subarray(done, done + length));
    done += length;
  }
  return true;
}
