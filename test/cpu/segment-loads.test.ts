/**
 * MOV and POP of ES, DS, FS and GS as generated code does them in flat code, interpreted and compiled, against the cold operation:
 * every kind of descriptor, selector and limit of the table leads to the same segment and the same fault.
 */
import { describe, expect, it } from 'vitest';
import { FAULT } from '../../src/machine/cpu/cpu-state.ts';
import * as L from '../../src/machine/cpu/layout.ts';
import { flushTlb, updateAll } from '../../src/machine/cpu/mode.ts';
import { COLD_OPERATIONS } from '../../src/machine/cpu/system/index.ts';
import { setSegment } from '../../src/machine/cpu/system/segment-load.ts';
import { PagedRig, PRESENT } from '../support/paged-rig.ts';

const GDT = 0x30000;
const STACK = 0x40000;
const SEGMENTS = [L.ES, L.DS, L.FS, L.GS];
/** MOV from EAX, POP. */
const CODE: Readonly<Record<number, readonly [string, string]>> = {
  [L.ES]: ['8ec0', '07'],
  [L.DS]: ['8ed8', '1f'],
  [L.FS]: ['8ee0', '0fa1'],
  [L.GS]: ['8ee8', '0fa9'],
};
/** Rights (bits 8–15) and size bits (20–23): data, code, expand-down, system; not accessed, not present, other privilege. */
const RIGHTS = [0x93, 0x92, 0x91, 0xb3, 0xf3, 0x97, 0x9b, 0x99, 0x9f, 0x13, 0x89, 0x82];
const SIZES = [0xc0, 0x40, 0x00];
const BASES = [0, 0x1234_5000, 0xc0ff_e010 | 0];
const LIMITS = [0xfffff, 0, 14, 15, 0xffff];

const DESCRIPTORS = RIGHTS.flatMap((rights, i) =>
  SIZES.flatMap((size, j) =>
    BASES.flatMap((base, k) => {
      // Not all combinations: each limit with some of each.
      const limit = LIMITS[(i + j + k) % LIMITS.length]!;
      return [
        { rights, size, base, limit },
        { rights, size, base, limit: 0xfffff },
      ];
    }),
  ),
);

function prepare(rig: PagedRig, selector: number, d: (typeof DESCRIPTORS)[number], gdtLimit = 0xff): void {
  const c = rig.cpu;
  for (let s = L.ES; s <= L.GS; s++) setSegment(c, s, 8, 0, -1, s === L.CS ? 0x00cf9b00 : 0x00cf9300);
  updateAll(c);
  rig.write(GDT + 0x18, (d.limit & 0xffff) | (d.base << 16));
  const high =
    ((d.base >>> 16) & 0xff) | (d.rights << 8) | (d.limit & 0xf0000) | (d.size << 16) | (d.base & 0xff000000);
  rig.write(GDT + 0x1c, high);
  rig.write(GDT + 0x100, 0xffff);
  rig.write(GDT + 0x104, 0x00cf9300);
  c.set(L.GDT_BASE, GDT);
  c.set(L.GDT_LIMIT, gdtLimit);
  c.setReg32(0, selector | 0xabcd_0000);
  c.setReg32(4, STACK);
  // Twice: compiled code was run before.
  rig.write(STACK, selector | 0x7fff_0000);
  rig.write(STACK + 4, selector | 0x7fff_0000);
}

/** The segment, ESP, the fault's vector (-1: none) and what became of the descriptor. */
function state(rig: PagedRig, seg: number, vector: number): number[] {
  const c = rig.cpu;
  const cache = Array.from({ length: 7 }, (_, i) => c.get(L.SEGS + seg * L.SEG_STRIDE + i * 4));
  return [...cache, c.reg32(4), vector, rig.read(GDT + 0x1c), c.get(L.MODE)];
}

function byColdOperation(rig: PagedRig, seg: number, pop: boolean): number {
  const c = rig.cpu;
  const record = L.END_RECORDS + 15 * L.RECORD_BYTES;
  c.rec = record;
  c.u16[(record + L.R_R1) >> 1] = 0;
  c.u16[(record + L.R_R2) >> 1] = seg;
  c.u8[record + L.R_FLAGS] = L.RF_OP32 | L.RF_ADDR32;
  try {
    COLD_OPERATIONS[pop ? 'pop_sreg' : 'mov_to_sreg']!(c);
    return -1;
  } catch (error) {
    if (error !== FAULT) throw error;
    return c.faultVector;
  }
}

const reference = new PagedRig(false);

describe.each([false, true])('compiled: %s', (compiled) => {
  // Each instruction has a place of its own: a rig has room for a few thousand.
  const rig = (): PagedRig => new PagedRig(compiled);

  it.each(SEGMENTS)('segment %i', (seg) => {
    for (const pop of [false, true]) {
      const found = rig();
      for (const [i, d] of DESCRIPTORS.entries()) {
        // Each is a module of its own.
        if (compiled && i % 5 !== seg % 5) continue;
        for (const selector of [0x18, 0x1b]) {
          prepare(reference, selector, d);
          const vector = byColdOperation(reference, seg, pop);
          prepare(found, selector, d);
          const its = found.run(CODE[seg]![pop ? 1 : 0], 0x7000);
          // Compiled, it was run before: the stack is popped twice.
          if (compiled && pop && its < 0) found.cpu.setReg32(4, found.cpu.reg32(4) - 4);
          const what = `${JSON.stringify(d)} selector ${selector} pop ${pop}`;
          expect(state(found, seg, its), what).toEqual(state(reference, seg, vector));
        }
      }
    }
  });

  it('null, the LDT, the end of the table, a table that is not there', () => {
    const found = rig();
    const flat = { rights: 0x93, size: 0xc0, base: 0, limit: 0xfffff };
    for (const seg of SEGMENTS) {
      for (const [selector, gdtLimit] of [
        [0, 0xff],
        [3, 0xff],
        [0x1c, 0xff],
        [0x18, 0x1e],
        [0x18, 0x1f],
        [0x100, 0xff],
        [0x100, 0x107],
      ] as const) {
        prepare(reference, selector, flat, gdtLimit);
        const vector = byColdOperation(reference, seg, false);
        prepare(found, selector, flat, gdtLimit);
        expect(state(found, seg, found.run(CODE[seg]![0], 0x7000))).toEqual(state(reference, seg, vector));
      }
      for (const each of [reference, found]) {
        prepare(each, 0x18, flat);
        each.write(0x81000 + (GDT >> 12) * 4, 0);
        flushTlb(each.cpu);
      }
      const vector = byColdOperation(reference, seg, false);
      expect(found.run(CODE[seg]![0], 0x7000)).toBe(vector);
      expect(vector).toBe(14);
      for (const each of [reference, found]) each.write(0x81000 + (GDT >> 12) * 4, GDT | PRESENT);
    }
  });
});
