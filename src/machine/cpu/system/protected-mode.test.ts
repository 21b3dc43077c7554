import { inflateSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { bareCpu, EMPTY_BUS } from '../../../../test/support/bare-cpu.ts';
import * as L from '../layout.ts';

/** protected-mode.asm, assembled. */
const PROGRAM =
  'eNrtkz9Lw0AYxp+ENA2o5NLBpSBqW3CspaCDg4hVqA4FtfQTxNLJQcExIg4ihOhYWqjf4MAlgkNw6VTi4NBPEIiDFMlQHBrf' +
  '/llEobro0me439375+G9g1t2zLb59ACjKUvIsaYsA6iVZiAU6pZl1UqpsFeoN/LM81Vhdl1ThbktTZ13pgV10dFfdhigoCfn' +
  'mQvdZiAzZ2AHOi5BRbuSKOMIKIsZoBIvn1CDq9sJquQHnt8y1Knb02I2xouez6MtI1iLHkf4nue7djYGqAnHvmNDilKfXcvi' +
  'OUqfS0mRb9KmdCUljdXgOE6RCN+mCN+gYRc6nn+2m1QAAS7f93y9GamSYxc23RBmStKAgGc8P+jAsjBSGNJSdYe8GfGdqBLf' +
  'HByioOESRHvAFSjkE0bTZE3vNfShleF/FdIA4neJxudjf05lxN/M/Myoyxxfd/+lLg1cjO97/KH/RBNN9He67v/LV+ADURqB' +
  'HQ==';

test('single step, system call, #UD, #GP by limit, breakpoint with RF, double fault through a task gate', () => {
  const out: number[] = [];
  const c = bareCpu(0x1000000, { ...EMPTY_BUS, portWrite8: (_port, value) => void out.push(value) });
  c.u8.set(inflateSync(Buffer.from(PROGRAM, 'base64')), c.mem.ramAddress + 0x1000);
  const cs = c.segAddress(L.CS);
  c.set(cs + L.SEG_SELECTOR, 0);
  c.set(cs + L.SEG_BASE, 0);
  c.set(L.EIP, 0x1000);
  expect(c.run(10000)).toBe('halt');
  // Eight traps; DR6 with B0 reads f1 in its low byte.
  expect(out.shift()).toBe(8);
  expect(String.fromCharCode(...out)).toBe('USDGVB\u00f1ET2');
});
