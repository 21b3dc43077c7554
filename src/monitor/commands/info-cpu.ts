/** `info registers`, `cpus`, `jit`, `mem`, `tlb`: the CPU, to the column as QEMU 7.2 prints it. */
import type { Cpu } from '../../machine/cpu/cpu.ts';
import { toRecord } from '../../machine/cpu/cpu-record.ts';
import { type Command, command } from '../command.ts';

export const CPU_INFO: readonly Command[] = [
  command('cpus', [], '', 'show infos for each CPU', ({ host }) => `* CPU #0: thread_id=${host.processId}\n`),
  command('registers', [], '', 'show the cpu registers', ({ machine }) => registers(machine.cpu)),
  command('jit', [], '', 'show dynamic compiler info', ({ machine }) => jitText(machine.cpu)),
];

/** QEMU prints its code buffer here; ours are units of WebAssembly, a page's code or part of it each. */
function jitText({ jit, records }: Cpu): string {
  const s = jit.statistics;
  const part = s.samples === 0 ? 0 : (100 * s.covered) / s.samples;
  const lines = [
    'Translation buffer state:',
    `units               ${s.units}`,
    `guest instructions  ${s.instructions}`,
    `code size           ${s.bytes} bytes of WebAssembly`,
    `hit rate            ${part.toFixed(1)}% (${s.covered} of ${s.samples} samples in compiled code)`,
    `compiled            ${s.compiled} units (${s.regions} over several pages) in ${s.milliseconds.toFixed(0)} ms, longest pause ${s.longestMilliseconds.toFixed(1)} ms`,
    '',
    'Statistics:',
    `units invalidated   ${s.invalidated}`,
    `units replaced      ${s.replaced}`,
    `units evicted       ${s.evicted}`,
    `decoded             ${records.decodes} instructions`,
    `code changed        ${records.invalidations} times`,
    `pages recycled      ${records.recycled}`,
  ];
  return `${lines.join('\n')}\n`;
}

function hex(value: number | bigint, digits = 8): string {
  return (typeof value === 'number' && value < 0 ? value >>> 0 : value).toString(16).padStart(digits, '0');
}

const FLAG_LETTERS: readonly (readonly [number, string])[] = [
  [0x400, 'D'],
  [0x800, 'O'],
  [0x80, 'S'],
  [0x40, 'Z'],
  [0x10, 'A'],
  [0x04, 'P'],
  [0x01, 'C'],
];
const HF_INHIBIT_IRQ = 8;
const HF_PE = 0x80;

export function registers(cpu: Cpu): string {
  const r = toRecord(cpu);
  const letters = FLAG_LETTERS.map(([bit, letter]) => ((r.eflags & bit) !== 0 ? letter : '-')).join('');
  const isProtected = (r.hflags & HF_PE) !== 0;
  const names = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'];
  const [eax, ecx, edx, ebx, esp, ebp, esi, edi] = r.regs.map((value) => hex(value));
  const dr = r.dr.map((value) => hex(value));
  const lines = [
    '',
    'CPU#0',
    `EAX=${eax} EBX=${ebx} ECX=${ecx} EDX=${edx}`,
    `ESI=${esi} EDI=${edi} EBP=${ebp} ESP=${esp}`,
    `EIP=${hex(r.eip)} EFL=${hex(r.eflags)} [${letters}] CPL=${r.hflags & 3} ` +
      `II=${(r.hflags & HF_INHIBIT_IRQ) !== 0 ? 1 : 0} A20=${(r.a20Mask >> 20) & 1} SMM=0 HLT=${cpu.halted ? 1 : 0}`,
    ...r.segs.map((segment, i) => segmentLine(names[i]!, segment, isProtected)),
    segmentLine('LDT', r.ldt, isProtected),
    segmentLine('TR', r.tr, isProtected),
    `GDT=     ${hex(r.gdt.base)} ${hex(r.gdt.limit)}`,
    `IDT=     ${hex(r.idt.base)} ${hex(r.idt.limit)}`,
    `CR0=${hex(r.cr0)} CR2=${hex(r.cr2)} CR3=${hex(r.cr3)} CR4=${hex(r.cr4)}`,
    `DR0=${dr[0]} DR1=${dr[1]} DR2=${dr[2]} DR3=${dr[3]} `,
    `DR6=${dr[6]} DR7=${dr[7]}`,
    `EFER=${hex(0, 16)}`,
    `FCW=${hex(r.fpuc, 4)} FSW=${hex(r.fpus, 4)} [ST=${(r.fpus >> 11) & 7}] FTW=${hex(r.fptag, 2)} MXCSR=${hex(r.mxcsr)}`,
    ...pairs(r.fpregs.map((f, i) => `FPR${i}=${hex(f.mantissa, 16)} ${hex(f.exponent, 4)}`)),
    ...pairs(r.xmm.map((x, i) => `XMM0${i}=${hex(x.high, 16)} ${hex(x.low, 16)}`)),
  ];
  return `${lines.join('\n')}\n`;
}

function pairs(items: readonly string[]): string[] {
  return items.flatMap((item, i) => (i % 2 === 0 ? [`${item} ${items[i + 1]}`] : []));
}

interface Segment {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  readonly flags: number;
}

const SYSTEM_TYPES: readonly string[] = [
  ...['Reserved', 'TSS16-avl', 'LDT', 'TSS16-busy', 'CallGate16', 'TaskGate', 'IntGate16', 'TrapGate16'],
  ...['Reserved', 'TSS32-avl', 'Reserved', 'TSS32-busy', 'CallGate32', 'Reserved', 'IntGate32', 'TrapGate32'],
];
const DESC_A = 1 << 8;
const DESC_RW = 1 << 9;
const DESC_CE = 1 << 10;
const DESC_CODE = 1 << 11;
const DESC_S = 1 << 12;
const DESC_P = 1 << 15;
const DESC_B = 1 << 22;

function segmentLine(name: string, { selector, base, limit, flags }: Segment, isProtected: boolean): string {
  const shown = (flags & 0x00ffff00) >>> 0;
  const start = `${name.padEnd(3)}=${hex(selector, 4)} ${hex(base)} ${hex(limit)} ${hex(shown)}`;
  if (!isProtected || (flags & DESC_P) === 0) return start;
  const level = `${start} DPL=${(flags >> 13) & 3} `;
  if ((flags & DESC_S) === 0) return level + SYSTEM_TYPES[(flags >> 8) & 15]!;
  const bit = (mask: number, letter: string) => ((flags & mask) !== 0 ? letter : '-');
  const isCode = (flags & DESC_CODE) !== 0;
  const is32 = (flags & DESC_B) !== 0;
  const kind = isCode ? (is32 ? 'CS32' : 'CS16') : is32 ? 'DS  ' : 'DS16';
  return `${level}${kind} [${bit(DESC_CE, isCode ? 'C' : 'E')}${bit(DESC_RW, isCode ? 'R' : 'W')}${bit(DESC_A, 'A')}]`;
}
