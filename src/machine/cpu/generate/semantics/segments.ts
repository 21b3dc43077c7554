/**
 * MOV and POP of ES, DS, FS and GS in flat code, where every kernel does them at each entry and exit: writable data segments of
 * the GDT, and null for FS and GS. Whatever could fault, touch the descriptor or end flat code is left to the cold operation.
 * Intel SDM 2A, MOV; 3A, 5.
 */
import * as L from '../../layout.ts';
import { DESC_A, DESC_CODE, DESC_DPL_SHIFT, DESC_E, DESC_G, DESC_P, DESC_S, DESC_W } from '../../mode.ts';
import type { Emitter } from '../emitter.ts';
import { binary, load, type Node } from '../node.ts';
import type { Semantics } from './index.ts';

const USABLE = DESC_P | DESC_S | DESC_W | DESC_A;
const FS_CACHE = L.SEGS + L.FS * L.SEG_STRIDE;
/** A segment's last bytes take the slow path; see updateSegment in mode.ts. */
const BEYOND_SPAN = 15;

export const SEGMENT_LOADS: Semantics = {
  mov_to_sreg: (s) => {
    const inMemory = s.form.includes('M');
    const source = inMemory ? s.loadLinear(16, s.operandLinear(16, false)) : s.generalRegister('rm');
    loadSegment(s, s.let(s.and(source, s.k(0xffff))));
  },
  pop_sreg: (s) => {
    const sp = s.let(s.reg(4));
    loadSegment(s, s.loadLinear(16, sp));
    s.setReg(4, s.add(sp, s.k(4)));
  },
};

function cold(s: Emitter, condition: Node): void {
  s.if(condition, () => s.cold(s.coldName));
}

function loadSegment(s: Emitter, selector: Node): void {
  const cache = s.segmentOperand();
  const isData = binary('ltu', cache, s.k(FS_CACHE));
  s.out.if(
    s.and(selector, s.k(0xfffc)),
    () => loadFromTable(s, cache, selector, isData),
    () => {
      cold(s, isData);
      const fields = [L.SEG_BASE, L.SEG_LIMIT, L.SEG_FLAGS, L.SEG_LO, L.SEG_READ_SPAN, L.SEG_WRITE_SPAN];
      for (const field of fields) s.out.store(32, cache, field, s.k(0));
    },
  );
  s.out.store(32, cache, L.SEG_SELECTOR, selector);
}

function loadFromTable(s: Emitter, cache: Node, selector: Node, isData: Node): void {
  const offset = s.let(s.and(selector, s.k(0xfff8)));
  const beyond = binary('gtu', s.add(offset, s.k(7)), s.and(s.state(L.GDT_LIMIT), s.k(0xffff)));
  const local = s.and(selector, s.k(4));
  const address = s.let(s.add(s.state(L.GDT_BASE), offset));
  const entry = s.let(s.and(s.shr(address, s.k(8)), s.k((L.TLB_ENTRIES - 1) << 4)));
  const page = s.and(s.add(address, s.k(7)), s.k(~0xfff));
  const missed = s.ne(load('ld32', entry, L.TLB_SUPER), page);
  cold(s, s.or(s.or(beyond, local), missed));
  const host = s.let(s.add(address, load('ld32', entry, L.TLB_SUPER + 8)));
  const low = s.let(load('ld32', host, 0));
  const high = s.let(load('ld32', host, 4));
  const wrongType = s.ne(s.and(high, s.k(USABLE | DESC_CODE | DESC_E)), s.k(USABLE));
  const dpl = s.let(s.and(s.shr(high, s.k(DESC_DPL_SHIFT)), s.k(3)));
  const forbidden = s.or(binary('ltu', dpl, s.and(selector, s.k(3))), binary('ltu', dpl, s.state(L.CPL)));
  const base = s.let(
    s.or(s.or(s.shr(low, s.k(16)), s.shl(s.and(high, s.k(0xff)), s.k(16))), s.and(high, s.k(0xff000000 | 0))),
  );
  const raw = s.let(s.or(s.and(low, s.k(0xffff)), s.and(high, s.k(0xf0000))));
  const limit = s.let(s.sel(s.and(high, s.k(DESC_G)), s.or(s.shl(raw, s.k(12)), s.k(0xfff)), raw));
  const flat = s.eqz(s.or(base, s.not(limit)));
  cold(s, s.or(s.or(wrongType, forbidden), binary('gtu', isData, flat)));
  const span = s.let(
    s.sel(binary('ltu', limit, s.k(BEYOND_SPAN)), s.k(0), s.sub(limit, s.k(BEYOND_SPAN - 1))),
  );
  s.out.store(32, cache, L.SEG_BASE, base);
  s.out.store(32, cache, L.SEG_LIMIT, limit);
  s.out.store(32, cache, L.SEG_FLAGS, high);
  s.out.store(32, cache, L.SEG_LO, s.k(0));
  s.out.store(32, cache, L.SEG_READ_SPAN, span);
  s.out.store(32, cache, L.SEG_WRITE_SPAN, span);
}
