/**
 * String operations. REP forms commit and charge each iteration, so that they can be left and started again anywhere.
 * Runs of REP MOVS and REP STOS that stay inside pages which cannot fault are done in bulk.
 */
import { FLAG_DF } from '../../eflags.ts';
import * as L from '../../layout.ts';
import type { Emitter } from '../emitter.ts';
import type { Node } from '../node.ts';
import type { Semantics } from './index.ts';

const ES_CACHE = L.SEGS + L.ES * L.SEG_STRIDE;

const STRING: Record<string, (s: Emitter) => void> = {
  movs: (s) => movs(s),
  stos: (s) => stos(s),
  lods: (s) => lods(s),
  cmps: (s) => cmps(s),
  scas: (s) => scas(s),
  rep_movs: (s) => repeat(s, movs, undefined, bulkMove),
  rep_stos: (s) => repeat(s, stos, undefined, bulkFill),
  rep_lods: (s) => repeat(s, lods, undefined),
  repe_cmps: (s) => repeat(s, cmps, 4),
  repne_cmps: (s) => repeat(s, cmps, 5),
  repe_scas: (s) => repeat(s, scas, 4),
  repne_scas: (s) => repeat(s, scas, 5),
  xlat: (s) => {
    const at = s.and(s.add(s.reg(3), s.reg(0, 8)), s.addressMask());
    const v = s.loadLinear(8, s.linear(s.segment(), at, 8, false));
    s.setReg(0, v, 8);
  },
};
export const STRINGS: Semantics = STRING;

function backwards(s: Emitter): Node {
  return s.and(s.state(L.EFL), s.k(FLAG_DF));
}
/** Pointer register, address size applied. */
function pointer(s: Emitter, r: number): Node {
  return s.let(s.general ? s.and(s.reg(r), s.addressMask()) : s.reg(r));
}
/** Register r moves on by one element. */
function advance(s: Emitter, r: number, old: Node): void {
  const step = s.sel(backwards(s), s.k(-(s.size / 8)), s.k(s.size / 8));
  setCounted(s, r, s.add(old, step));
}
function setCounted(s: Emitter, r: number, v: Node): void {
  if (!s.general) {
    s.setReg(r, v);
    return;
  }
  const mask = s.let(s.addressMask());
  s.setReg(r, s.or(s.and(s.reg(r), s.not(mask)), s.and(v, mask)));
}
function source(s: Emitter, si: Node): Node {
  return s.loadLinear(s.size, s.linear(s.segment(), si, s.size, false));
}
function movs(s: Emitter): void {
  const si = pointer(s, 6);
  const v = source(s, si);
  const di = pointer(s, 7);
  s.storeLinear(s.size, s.linear(s.k(ES_CACHE), di, s.size, true), v);
  advance(s, 6, si);
  advance(s, 7, di);
}
function stos(s: Emitter): void {
  const di = pointer(s, 7);
  s.storeLinear(s.size, s.linear(s.k(ES_CACHE), di, s.size, true), s.reg(0, s.size));
  advance(s, 7, di);
}
function lods(s: Emitter): void {
  const si = pointer(s, 6);
  s.setReg(0, source(s, si), s.size);
  advance(s, 6, si);
}
function cmps(s: Emitter): void {
  const si = pointer(s, 6);
  const a = source(s, si);
  const di = pointer(s, 7);
  const b = s.loadLinear(s.size, s.linear(s.k(ES_CACHE), di, s.size, false));
  s.flagsSub(a, b, s.let(s.sub(a, b)));
  advance(s, 6, si);
  advance(s, 7, di);
}
function scas(s: Emitter): void {
  const di = pointer(s, 7);
  const a = s.let(s.reg(0, s.size));
  const b = s.loadLinear(s.size, s.linear(s.k(ES_CACHE), di, s.size, false));
  s.flagsSub(a, b, s.let(s.sub(a, b)));
  advance(s, 7, di);
}

/** `cc`: also stop when this condition no longer holds. `bulk`: emits a shortcut for many iterations at once. */
function repeat(
  s: Emitter,
  once: (s: Emitter) => void,
  cc: number | undefined,
  bulk?: (s: Emitter, count: Node) => void,
): void {
  s.out.loop((restart) => {
    const count = s.let(s.general ? s.and(s.reg(1), s.addressMask()) : s.reg(1));
    s.out.if(count, () => {
      if (bulk !== undefined && !s.general) bulk(s, count);
      once(s);
      const left = s.let(s.sub(count, s.k(1)));
      setCounted(s, 1, left);
      const more = cc === undefined ? left : s.and(s.ne(left, s.k(0)), s.condition(cc));
      s.out.if(more, () => s.again(restart));
    });
  });
}

/** min(count - 1, budget - 1, elements before the end of the page at `linear`): the last iteration is always a plain one. */
function limitRun(s: Emitter, run: Node, linear: Node): void {
  const shift = s.size === 32 ? 2 : s.size === 16 ? 1 : 0;
  const room = s.let(s.shr(s.sub(s.k(0x1000), s.and(linear, s.k(0xfff))), s.k(shift)));
  s.out.set(run, s.sel(s.bin('ltu', room, run), room, run));
}

function startRun(s: Emitter, count: Node): Node {
  const run = s.temp();
  const budget = s.let(s.budget());
  s.out.set(run, s.sel(s.bin('ltu', count, budget), count, budget));
  s.out.set(run, s.sub(run, s.k(1)));
  return run;
}

function bulkMove(s: Emitter, count: Node): void {
  const run = startRun(s, count);
  const si = s.let(s.reg(6));
  const di = s.let(s.reg(7));
  limitRun(s, run, si);
  limitRun(s, run, di);
  const from = s.probe(si, false);
  const to = s.probe(di, true);
  const bytes = s.let(s.mul(run, s.k(s.size / 8)));
  // A forward copy onto bytes that it will still read must go element by element: its result is a pattern.
  const apart = s.bin('geu', s.sub(to.host, from.host), bytes);
  const clean = s.and(s.eqz(s.or(from.miss, to.miss)), s.and(apart, s.eqz(backwards(s))));
  s.out.if(s.and(clean, s.bin('gts', run, s.k(3))), () => {
    s.out.memoryCopy(to.host, from.host, bytes);
    s.setReg(6, s.add(si, bytes));
    s.setReg(7, s.add(di, bytes));
    finishRun(s, count, run);
  });
}

function bulkFill(s: Emitter, count: Node): void {
  const run = startRun(s, count);
  const di = s.let(s.reg(7));
  limitRun(s, run, di);
  const to = s.probe(di, true);
  const v = s.let(s.reg(0, s.size));
  const bytes = s.let(s.mul(run, s.k(s.size / 8)));
  const low = s.let(s.and(v, s.k(0xff)));
  const uniform = s.eq(v, s.mul(low, s.k(s.size === 32 ? 0x01010101 : s.size === 16 ? 0x0101 : 1)));
  const clean = s.and(s.eqz(to.miss), s.eqz(backwards(s)));
  s.out.if(s.and(clean, s.bin('gts', run, s.k(3))), () => {
    s.out.if(
      uniform,
      () => s.out.memoryFill(to.host, low, bytes),
      () => fillPattern(s, to.host, v, bytes),
    );
    s.setReg(7, s.add(di, bytes));
    finishRun(s, count, run);
  });
}

/** One element, then copies of what is there, twice as much each time. */
function fillPattern(s: Emitter, host: Node, v: Node, bytes: Node): void {
  s.out.store(s.size, host, 0, v);
  const done = s.temp();
  s.out.set(done, s.k(s.size / 8));
  s.out.loop((again) => {
    s.out.if(s.bin('ltu', done, bytes), () => {
      const rest = s.let(s.sub(bytes, done));
      const part = s.let(s.sel(s.bin('ltu', rest, done), rest, done));
      s.out.memoryCopy(s.add(host, done), host, part);
      s.out.set(done, s.add(done, part));
      again();
    });
  });
}

function finishRun(s: Emitter, count: Node, run: Node): void {
  s.out.set(count, s.sub(count, run));
  s.setReg(1, count);
  s.charge(run);
}
