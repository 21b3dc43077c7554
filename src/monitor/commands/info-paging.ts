/** `info mem` and `info tlb`: the page tables, to the column as QEMU 7.2 prints them (target/i386/monitor.c). */
import type { Cpu } from '../../machine/cpu/cpu.ts';
import { type Command, command } from '../command.ts';
import { PAGE_USER, PAGE_WRITE, pagingEnabled, presentPages } from '../page-tables.ts';

export const PAGING_INFO: readonly Command[] = [
  command('mem', [], '', 'show the active virtual memory mappings', ({ machine }) => mappings(machine.cpu)),
  command('tlb', [], '', 'show virtual to physical memory mappings', ({ machine }) => entries(machine.cpu)),
];

function hex(value: number): string {
  return value.toString(16).padStart(16, '0');
}

/** Runs of linear addresses of the same rights. */
function mappings(cpu: Cpu): string {
  if (!pagingEnabled(cpu)) return 'PG disabled\n';
  const lines: string[] = [];
  let run: { start: number; end: number; rights: number } | undefined;
  const finish = () => {
    if (run === undefined) return;
    const rights = `${(run.rights & PAGE_USER) !== 0 ? 'u' : '-'}r${(run.rights & PAGE_WRITE) !== 0 ? 'w' : '-'}`;
    lines.push(`${hex(run.start)}-${hex(run.end)} ${hex(run.end - run.start)} ${rights}\n`);
  };
  for (const { linear, sizeBytes, rights } of presentPages(cpu)) {
    if (run !== undefined && run.end === linear && run.rights === rights) {
      run.end += sizeBytes;
      continue;
    }
    finish();
    run = { start: linear, end: linear + sizeBytes, rights };
  }
  finish();
  return lines.join('');
}

/** Letters of an entry's bits 63 (NX, never here), 8, 7, 6, 5, 4, 3, 2, 1. */
const LETTERS: readonly (readonly [number, string])[] = [
  [0x100, 'G'],
  [0x80, 'P'],
  [0x40, 'D'],
  [0x20, 'A'],
  [0x10, 'C'],
  [0x08, 'T'],
  [0x04, 'U'],
  [0x02, 'W'],
];

function entries(cpu: Cpu): string {
  if (!pagingEnabled(cpu)) return 'PG disabled\n';
  const lines: string[] = [];
  for (const { linear, physical, flags } of presentPages(cpu)) {
    const letters = LETTERS.map(([bit, letter]) => ((flags & bit) !== 0 ? letter : '-')).join('');
    lines.push(`${hex(linear)}: ${hex(physical)} -${letters}\n`);
  }
  return lines.join('');
}
