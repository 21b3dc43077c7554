import { inflateSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { PhysicalMemory } from '../../memory.ts';
import { Cpu } from '../cpu.ts';
import * as L from '../layout.ts';

/** protected-mode.asm, assembled. */
const PROGRAM =
  'eNrtkz9Lw0AYxp+ENA2o5NLBpSBqW3CspaCDg4hVqA4FtfQTxNLJQcExIg4ihOhYWqjf4MAlgkNw6VTi4NBPEIiDFMlQHBrf' +
  '/llEobro0me439375+G9g1t2zLb59ACjKUvIsaYsA6iVZiAU6pZl1UqpsFeoN/LM81Vhdl1ThbktTZ13pgV10dFfdhigoCfn' +
  'mQvdZiAzZ2AHOi5BRbuSKOMIKIsZoBIvn1CDq9sJquQHnt8y1Knb02I2xouez6MtI1iLHkf4nue7djYGqAnHvmNDilKfXcvi' +
  'OUqfS0mRb9KmdCUljdXgOE6RCN+mCN+gYRc6nn+2m1QAAS7f93y9GamSYxc23RBmStKAgGc8P+jAsjBSGNJSdYe8GfGdqBLf' +
  'HByioOESRHvAFSjkE0bTZE3vNfShleF/FdIA4neJxudjf05lxN/M/Myoyxxfd/+lLg1cjO97/KH/RBNN9He67v/LV+ADURqB' +
  'HQ==';

const RAM = 0x6000000;

test('single step, system call, #UD, #GP by limit, breakpoint with RF, double fault through a task gate', () => {
  const memory = new WebAssembly.Memory({ initial: 2048, maximum: 2048 });
  const mem = new PhysicalMemory(memory, RAM, 0x1000000);
  const out: number[] = [];
  const c = new Cpu(mem, {
    portRead8: () => 0xff,
    portRead16: () => 0xffff,
    portRead32: () => 0xffffffff,
    portWrite8: (_port, value) => void out.push(value),
    portWrite16: () => {},
    portWrite32: () => {},
    apicBase: () => 0xfee00900,
    setApicBase: () => {},
    tsc: () => 0,
  });
  mem.u8.set(inflateSync(Buffer.from(PROGRAM, 'base64')), RAM + 0x1000);
  const cs = c.segAddress(L.CS);
  c.set(cs + L.SEG_SELECTOR, 0);
  c.set(cs + L.SEG_BASE, 0);
  c.set(L.EIP, 0x1000);
  expect(c.run(10000)).toBe('halt');
  // Eight traps; DR6 with B0 reads f1 in its low byte.
  expect(out.shift()).toBe(8);
  expect(String.fromCharCode(...out)).toBe('USDGVB\u00f1ET2');
});
