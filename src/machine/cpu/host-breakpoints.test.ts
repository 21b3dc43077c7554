/** A debugger's breakpoints: behind every kind of jump the first instruction is seen. */
import { afterEach, expect, test } from 'vitest';
import { tinyMachine } from '../../../test/support/tiny-machine.ts';
import type { Machine } from '../machine.ts';

const machines: Machine[] = [];
afterEach(async () => {
  for (const machine of machines.splice(0)) await machine.close();
});

const START = 0xf0000;
const NOPS = (count: number): number[] => Array.from({ length: count }, () => 0x90);

test.each([
  ['a far jump', [], 0],
  ['the instruction behind one in its page', [0x90, 0x90], 2],
  ['a near jump into the next page', [0xe9, 0xfd, 0x0f], 0x1000],
  ['running into the next page', NOPS(0x1000), 0x1000],
  // push cs; push 2000h; retf
  ['a far return', [0x0e, 0x68, 0x00, 0x20, 0xcb], 0x2000],
  // mov ss, ax = 0; mov sp, 8000h; pushf; push cs; push 2000h; iret
  [
    'an interrupt return',
    [0x31, 0xc0, 0x8e, 0xd0, 0xbc, 0, 0x80, 0x9c, 0x0e, 0x68, 0x00, 0x20, 0xcf],
    0x2000,
  ],
  // mov word [0], 2000h; mov [2], cs; int 0
  ['an interrupt', [0xc7, 0x06, 0, 0, 0x00, 0x20, 0x8c, 0x0e, 2, 0, 0xcd, 0x00], 0x2000],
] as const)('a breakpoint behind %s', async (_name, code, offset) => {
  const program = [...code, ...NOPS(0x3000 - code.length), 0xf4];
  const machine = await tinyMachine(program);
  machines.push(machine);
  const { cpu } = machine;
  cpu.setBreakpoints([START + offset], []);
  await machine.runTo(20_000);
  expect(cpu.breakpoints.hit).toEqual({ kind: 'breakpoint', address: START + offset });
});
