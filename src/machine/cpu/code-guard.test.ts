// Code that changes itself through a write path that was open before the page held code.
import { expect, test } from 'vitest';
import { bareCpu } from '../../../test/support/bare-cpu.ts';
import * as L from './layout.ts';
import { updateAll } from './mode.ts';

test('a page that was written as data and then executed hears of the next write', () => {
  const cpu = bareCpu(1 << 20);
  for (const seg of [L.CS, L.SS, L.DS]) {
    cpu.set(cpu.segAddress(seg) + L.SEG_SELECTOR, 0);
    cpu.set(cpu.segAddress(seg) + L.SEG_BASE, 0);
  }
  const program = [
    ...[0xc6, 0x06, 0x01, 0x20, 0x11], // mov byte [0x2001], 0x11
    ...[0xe8, 0xf8, 0x0f], // call 0x2000
    ...[0x88, 0xc3], // mov bl, al
    ...[0xc6, 0x06, 0x01, 0x20, 0x22], // mov byte [0x2001], 0x22
    ...[0xe8, 0xee, 0x0f], // call 0x2000
    0xf4, // hlt
  ];
  for (const [i, byte] of program.entries()) cpu.mem.write8(0x1000 + i, byte);
  for (const [i, byte] of [0xb0, 0x00, 0xc3].entries()) cpu.mem.write8(0x2000 + i, byte); // mov al, 0; ret
  cpu.setReg32(4, 0x8000);
  cpu.set(L.EIP, 0x1000);
  updateAll(cpu);
  expect(cpu.run(100)).toBe('halt');
  expect([cpu.reg8(3), cpu.reg8(0)]).toEqual([0x11, 0x22]);
});
