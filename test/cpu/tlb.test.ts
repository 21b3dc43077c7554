/** What the TLBs keep: global pages over a write to CR3, and nothing that changed under an instruction that lies in two pages. */
import { expect, it } from 'vitest';
import * as L from '../../src/machine/cpu/layout.ts';
import { flushTlb } from '../../src/machine/cpu/mode.ts';
import { ELSEWHERE, PagedRig, PRESENT, SECOND } from '../support/paged-rig.ts';

const MOV_CR3_EAX = '0f22d8';
const MOV_EAX_EDI = '8b07';
const ACCESSED = 0x20;
const GLOBAL = 0x100;
const CR4_PGE = 0x80;
const TABLE_ENTRY = 0x81000 + (SECOND >> 12) * 4;
const OTHER = 0xa000;

/** What a read of SECOND gives after its entry was changed to OTHER and CR3 written. */
function readBehindCr3(flags: number, cr4: number): number {
  const rig = new PagedRig(false);
  const c = rig.cpu;
  c.set(L.CR4, c.get(L.CR4) | cr4);
  rig.write(ELSEWHERE, 1);
  rig.write(OTHER, 2);
  rig.map(ELSEWHERE | PRESENT | ACCESSED | flags);
  expect(rig.run(MOV_EAX_EDI, SECOND)).toBe(-1);
  expect(c.reg32(0)).toBe(1);
  rig.write(TABLE_ENTRY, OTHER | PRESENT | flags);
  c.setReg32(0, c.get(L.CR3));
  expect(rig.run(MOV_CR3_EAX, 0)).toBe(-1);
  rig.run(MOV_EAX_EDI, SECOND);
  return c.reg32(0);
}

it('a write to CR3 keeps global pages, if CR4.PGE is set', () => {
  expect(readBehindCr3(0, 0)).toBe(2);
  expect(readBehindCr3(GLOBAL, 0)).toBe(2);
  expect(readBehindCr3(0, CR4_PGE)).toBe(2);
  expect(readBehindCr3(GLOBAL, CR4_PGE)).toBe(1);
});

it('a write to CR3 drops more translations than fit a list', () => {
  const rig = new PagedRig(false);
  const c = rig.cpu;
  rig.write(ELSEWHERE, 1);
  rig.write(OTHER, 2);
  rig.run(MOV_EAX_EDI, SECOND);
  for (let i = 0; i < 2000; i++) rig.run(MOV_EAX_EDI, 0x20000 + (i % 128) * 0x1000 + (i >> 7));
  expect(c.localCount).toBeGreaterThan(0);
  for (let i = 0; i < c.localEntries.length; i++) {
    c.i32[(L.TLB_SUPER + 0x60 * 16) >> 2] = L.TLB_INVALID;
    rig.run(MOV_EAX_EDI, 0x60000);
  }
  expect(c.localCount).toBeGreaterThan(c.localEntries.length);
  rig.write(TABLE_ENTRY, OTHER | PRESENT);
  c.setReg32(0, c.get(L.CR3));
  rig.run(MOV_CR3_EAX, 0);
  rig.run(MOV_EAX_EDI, SECOND);
  expect(c.reg32(0)).toBe(2);
});

it('an instruction in two pages follows changes of the second one', () => {
  const rig = new PagedRig(false);
  const c = rig.cpu;
  const ram = c.mem.ramAddress;
  const start = SECOND - 3;
  // mov eax, imm32: two bytes of it in the second page. Then a jump to itself, over and over.
  c.u8.set([0xb8, 0x11, 0x22], ram + start);
  c.u8.set([0x33, 0x44, 0xeb, 0xf9], ram + ELSEWHERE);
  c.u8.set([0x55, 0x66, 0xeb, 0xf9], ram + OTHER);
  const run = (): number => {
    c.setReg32(0, 0);
    c.set(L.EIP, start);
    expect(c.run(20)).toBe('budget');
    return c.reg32(0);
  };
  expect(run()).toBe(0x44332211);
  expect(run()).toBe(0x44332211);
  c.mem.write8(ELSEWHERE, 0x77);
  expect(run()).toBe(0x44772211);
  expect(run()).toBe(0x44772211);
  rig.write(TABLE_ENTRY, OTHER | PRESENT);
  flushTlb(c);
  expect(run()).toBe(0x66552211);
  expect(run()).toBe(0x66552211);
  c.mem.write8(start + 2, 0x99);
  expect(run()).toBe(0x66559911);
  rig.write(TABLE_ENTRY, ELSEWHERE | PRESENT);
  flushTlb(c);
  expect(run()).toBe(0x44779911);
  rig.write(TABLE_ENTRY, 0);
  flushTlb(c);
  c.set(L.EIP, start);
  const at = c.instructions;
  expect(c.run(5)).toBe('triple-fault');
  expect([c.get(L.EIP), c.get(L.CR2), c.instructions - at]).toEqual([start, SECOND, 1]);
});
