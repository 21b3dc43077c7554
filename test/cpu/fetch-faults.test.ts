/**
 * Jumps to a page that is not there. The jump is an instruction that is done and counts; the fault is the next one's, and counts too.
 * So it is in interpreted code, in compiled code, and when the machine stops in between.
 */
import { describe, expect, it } from 'vitest';
import { EXC_PF } from '../../src/machine/cpu/cpu-state.ts';
import * as L from '../../src/machine/cpu/layout.ts';
import { ELSEWHERE, PRESENT, PagedRig, SECOND } from '../support/paged-rig.ts';

const CODE = 0x10000;
const HANDLER = 0x11000;
const IDT = 0x12000;
const GDT = 0x13000;
/** Each goes to SECOND, and comes back behind itself. */
const JUMPS: Readonly<Record<string, string>> = {
  'call rel32': 'e8fb4fffff', // at CODE
  'call ebx': 'ffd3',
  'jmp ebx, with a way back': '6807000100ffe3', // push CODE + 7
};

/** `region`: where the jump names its target, that is in the same unit. */
type Tier = 'interpreted' | 'compiled' | 'region';

/** Steps until EIP is behind the jump again, `slice` instructions a run; says at which counts it was where. */
function trace(hex: string, tier: Tier, slice: number): string[] {
  const rig = new PagedRig(false);
  const c = rig.cpu;
  c.jit.enabled = tier !== 'interpreted';
  const bytes = (address: number, code: string): void =>
    c.u8.set(Buffer.from(code, 'hex'), c.mem.ramAddress + address);
  const page = 0x81000 + (SECOND >> 12) * 4;
  bytes(CODE, `${hex}ebfe`); // jmp $
  bytes(ELSEWHERE, '40c3'); // inc eax; ret
  // The handler maps the page: mov dword [page], ELSEWHERE | PRESENT; add esp, 4; iret
  rig.write(HANDLER, 0x000005c7 | ((page & 0xffff) << 16));
  rig.write(HANDLER + 4, (page >>> 16) | (((ELSEWHERE | PRESENT) & 0xffff) << 16));
  bytes(HANDLER + 8, '0000' + '83c404' + 'cf');
  rig.write(GDT + 8, 0x0000ffff);
  rig.write(GDT + 12, 0x00cf9b00);
  rig.write(IDT + EXC_PF * 8, (8 << 16) | (HANDLER & 0xffff));
  rig.write(IDT + EXC_PF * 8 + 4, (HANDLER & 0xffff0000) | 0x8e00);
  c.set(L.GDT_BASE, GDT);
  c.set(L.GDT_LIMIT, 0xff);
  c.set(L.IDT_BASE, IDT);
  c.set(L.IDT_LIMIT, 0x7ff);
  const behind = CODE + hex.length / 2;
  const once = (present: boolean, seen?: string[]): void => {
    rig.map(present ? ELSEWHERE | PRESENT : 0);
    c.flushCodeTlb();
    c.setReg32(3, SECOND);
    c.setReg32(4, 0x8000);
    c.set(L.EIP, CODE);
    const start = c.instructions;
    for (let k = 0; k < 50 && c.get(L.EIP) !== behind; k++) {
      expect(c.run(slice)).toBe('budget');
      seen?.push(`${c.instructions - start}: ${(c.get(L.EIP) >>> 0).toString(16)} ${c.get(L.CR2)}`);
    }
  };
  once(true);
  const record = c.records.pageRecords((c.mem.ramAddress + CODE) >>> 12, L.MODE_F32);
  for (let i = 0; i < c.jit.patience; i++) c.jit.sample(record);
  c.jit.finish();
  expect(c.jit.statistics.compiled).toBe(tier === 'interpreted' ? 0 : 1);
  if (tier === 'region') {
    c.jit.regionPatience = 1;
    c.jit.regionLimits = { own: 100, others: 100, arrivals: 0 };
    c.jit.sample(record);
    c.jit.finish();
    expect(c.jit.statistics.regions).toBe(hex.startsWith('e8') ? 1 : 0);
  }
  const seen: string[] = [];
  once(false, seen);
  return seen;
}

describe.each(Object.entries(JUMPS))('%s', (_, hex) => {
  it('is done before the fault, compiled or not', () => {
    const steps = trace(hex, 'interpreted', 1);
    const jump = hex.length > 12 ? 2 : 1;
    expect(steps[jump - 1]).toBe(`${jump}: ${SECOND.toString(16)} 0`);
    expect(steps[jump]).toBe(`${jump + 1}: ${HANDLER.toString(16)} ${SECOND}`);
    expect(trace(hex, 'compiled', 1)).toEqual(steps);
    expect(trace(hex, 'region', 1)).toEqual(steps);
    for (const slice of [2, 3, 7]) {
      const every = steps.filter((_line, i) => (i + 1) % slice === 0);
      const found = trace(hex, 'compiled', slice);
      expect(found).toEqual(trace(hex, 'interpreted', slice));
      expect(found).toEqual(trace(hex, 'region', slice));
      expect(found.slice(0, every.length)).toEqual(every);
    }
  });
});
