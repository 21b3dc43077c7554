/** Ways out of a code page: to a block of the same unit in another page, or to whatever the code TLB says. Flags are settled before. */
import type { Emitter } from '../generate/emitter.ts';
import { UNIT_LOOKUP } from '../generate/interpreter.ts';
import { constant, load, type Node } from '../generate/node.ts';
import * as L from '../layout.ts';
import { LOCAL_BLOCK, LOCAL_NEXT, local, type UnitFrame } from './frame.ts';
import { pageOf, recordAt } from './unit.ts';

/** The code TLB of a unit's privilege; units are flat code. */
function codeTlb(frame: UnitFrame): number {
  return L.XTLB + (L.MODE_F32 * 2 + (frame.tlb === L.TLB_USER ? 1 : 0)) * L.XTLB_BYTES;
}

/** The linear address of a page, and where in the code TLB it would be. */
function lookUp(s: Emitter, linear: Node): { slot: Node; page: Node } {
  return {
    slot: s.let(s.and(s.shr(linear, constant(9)), constant((L.XTLB_ENTRIES - 1) << 3))),
    page: s.let(s.and(linear, constant(~0xfff))),
  };
}

/** Goes to a block of this unit in another page, if the code TLB says that it still lies there. */
export function crossPage(
  s: Emitter,
  frame: UnitFrame,
  linear: Node,
  position: number | undefined,
  kind: number,
): void {
  if (position === undefined) return;
  const { slot, page } = lookUp(s, s.let(linear));
  const base = codeTlb(frame);
  const records = constant(recordAt(pageOf(position)));
  const same = s.and(s.eq(load('ld32', slot, base), page), s.eq(load('ld32', slot, base + 4), records));
  s.out.if(same, () => {
    s.setState(L.PAGELIN, page);
    frame.edge(position, kind);
  });
}

/** Looks the target's record up; stays inside if it is an entry of this unit. */
export function leavePage(s: Emitter, frame: UnitFrame, target: Node): void {
  const linear = s.let(target);
  const { slot, page } = lookUp(s, linear);
  const base = codeTlb(frame);
  const inPage = s.shl(s.and(linear, constant(0xfff)), constant(L.RECORD_SHIFT));
  const rec = s.let(s.add(load('ld32', slot, base + 4), inPage));
  s.out.if(s.ne(load('ld32', slot, base), page), () => {
    // Not in the code TLB: the instruction is done, EIP is the target; the interpreter looks it up.
    s.setState(L.EIP, linear);
    s.out.set(local(LOCAL_NEXT), constant(UNIT_LOOKUP));
    frame.exit();
  });
  s.setState(L.PAGELIN, page);
  s.out.if(s.eq(load('ld16u', rec, L.R_HANDLER), constant(frame.handler)), () => {
    s.out.set(local(LOCAL_BLOCK), load('ld16u', rec, L.R_UNIT_BLOCK));
    frame.dispatch();
  });
  s.noteArrival(rec);
  s.out.set(local(LOCAL_NEXT), rec);
  frame.exit();
}
