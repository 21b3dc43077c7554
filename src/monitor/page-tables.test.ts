import { expect, test } from 'vitest';
import type { CpuState } from '../machine/cpu/cpu-state.ts';
import * as L from '../machine/cpu/layout.ts';
import { presentPages } from './page-tables.ts';

const CR4_PSE = 0x10;
const CR4_PAE = 0x20;

function cpu(cr4: number, words: Readonly<Record<number, number>>): CpuState {
  const registers = new Map([
    [L.CR3, 0x1000],
    [L.CR4, cr4],
  ]);
  return {
    get: (slot: number) => registers.get(slot) ?? 0,
    mem: { read32: (address: number) => (words[address] ?? 0) | 0 },
  } as unknown as CpuState;
}

test('two levels: rights of both count; a large page', () => {
  const pages = [
    ...presentPages(cpu(CR4_PSE, { 4096: 0x2003, 8196: 0x5067, 7168: 0x00c000e3, 8188: 0x3000 })),
  ];
  expect(pages).toEqual([
    { linear: 0x1000, sizeBytes: 0x1000, physical: 0x5000, flags: 0x5067, rights: 2 },
    { linear: 0xc000_0000, sizeBytes: 0x40_0000, physical: 0x00c0_0000, flags: 0x00c000e3, rights: 2 },
  ]);
});

test('PAE', () => {
  const pages = [
    ...presentPages(cpu(CR4_PAE, { 4120: 0x2001, 8192: 0x3007, 12280: 0x802000e7, 12296: 0x7005 })),
  ];
  expect(pages).toEqual([
    { linear: 0xc000_1000, sizeBytes: 0x1000, physical: 0x7000, flags: 0x7005, rights: 4 },
    { linear: 0xffe0_0000, sizeBytes: 0x20_0000, physical: 0x8020_0000, flags: 0x802000e7, rights: 6 },
  ]);
});
