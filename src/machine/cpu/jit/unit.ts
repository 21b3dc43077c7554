/**
 * A compiled unit's shape: which instructions belong to it, cut into basic blocks: what hangs together in a code page, and what
 * that calls and jumps to in others. Only instructions that have been decoded, that is executed at least once, are taken;
 * everything the unit needs to know of them stands in their records. A position is a record's number.
 */
import type { CpuState } from '../cpu-state.ts';
import type { Handler } from '../generate/interpreter.ts';
import * as L from '../layout.ts';

/** One instruction of a unit. */
export interface UnitInstruction {
  readonly at: number;
  /** Byte offset in its page. */
  readonly offset: number;
  readonly length: number;
  readonly record: number;
  readonly operation: string;
  readonly handler: Handler;
  /** Relative jumps: byte offset of the target from the page's beginning, else undefined. */
  readonly target: number | undefined;
}

export interface UnitBlock {
  readonly index: number;
  /** Position of its first instruction. */
  readonly at: number;
  readonly instructions: readonly UnitInstruction[];
  /** Offset behind the last instruction, from the page's beginning. */
  readonly end: number;
  /** Blocks that this one jumps to or falls into. */
  readonly successors: readonly number[];
}

export interface UnitShape {
  /** By position. */
  readonly blocks: readonly UnitBlock[];
  /** Blocks where the unit may be entered: somebody outside led there or will, or a loop begins. */
  readonly entries: readonly number[];
  /** Where things lie in the unit's pages. */
  readonly pages: UnitPages;
}

/** Handler behind a record: its own, or the one that a compiled unit hides. Undefined: not generated, or not decoded. */
export type HandlerOf = (record: number) => Handler | undefined;

const CONDITIONAL = /^(j\d+|loop|loope|loopne|jcxz)$/;
const STRING_REPEAT = /^rep/;

export function isConditional(operation: string): boolean {
  return CONDITIONAL.test(operation);
}

/** Position of a record. */
export function positionOf(record: number): number {
  return (record - L.RECORDS) >>> L.RECORD_SHIFT;
}
export function recordAt(position: number): number {
  return L.RECORDS + position * L.RECORD_BYTES;
}
/** Position of the first record of a position's page. */
export function pageOf(position: number): number {
  return position & ~0xfff;
}

/** Which page lies where, as the code TLB knows it while the unit is made. Units look again whenever they leave a page. */
export class UnitPages {
  readonly #c: CpuState;
  readonly #codeTlb: number;
  /** By position of a page: its linear address. */
  readonly #linear = new Map<number, number>();

  /** `page`: the one that the CPU is in. */
  constructor(c: CpuState, page: number) {
    this.#c = c;
    this.#codeTlb = c.get(L.XTLBBASE);
    this.#linear.set(page, c.get(L.PAGELIN));
  }

  /** Position of what lies `offset` bytes from the beginning of the page at `page`. Undefined: in a page that is not known. */
  resolve(page: number, offset: number): number | undefined {
    if (offset >= 0 && offset < 4096) return page + offset;
    const linear = (this.#linear.get(page)! + offset) | 0;
    const slot = this.#codeTlb + ((linear >>> 12) & (L.XTLB_ENTRIES - 1)) * 8;
    if (this.#c.get(slot) !== (linear & ~0xfff)) return undefined;
    const found = positionOf(this.#c.get(slot + 4));
    if (!this.#linear.has(found)) this.#linear.set(found, linear & ~0xfff);
    return found + (linear & 0xfff);
  }
}

/** The instruction at a position, if a unit can hold it. */
export function unitInstruction(c: CpuState, at: number, handlerOf: HandlerOf): UnitInstruction | undefined {
  const record = recordAt(at);
  const handler = handlerOf(record);
  if (handler === undefined) return undefined;
  const offset = at & 0xfff;
  const { operation, shape } = handler;
  // REP operations pay for their way through the interpreter; jumps that cut EIP are rare in flat code.
  if (STRING_REPEAT.test(operation)) return undefined;
  const relative = shape.form === 'J';
  if (
    shape.general &&
    (relative ||
      shape.form[0] === undefined ||
      /^(push|pop|call|ret|jmp|leave|movs|stos|lods|cmps|scas|xlat)$/.test(operation))
  ) {
    return undefined;
  }
  const imm = c.get(record + L.R_IMM);
  const target = !relative ? undefined : shape.far ? imm : offset + (imm >> L.RECORD_SHIFT);
  return { at, offset, length: c.u8[record + L.R_LEN]!, record, operation, handler, target };
}

function endsBlock(i: UnitInstruction): boolean {
  return i.target !== undefined || i.operation === 'jmp' || i.operation === 'call' || i.operation === 'ret';
}
function fallsThrough(i: UnitInstruction): boolean {
  return !endsBlock(i) || isConditional(i.operation);
}

/** Neighbour of all indirect jumps and of all places that are jumped to from afar: the cases of a switch belong together. */
const HUB = Number.NEGATIVE_INFINITY;

/** What hangs together in a page: neighbours, both ways. Code behind a call or a cold operation is a neighbour too. */
class PageGraph {
  /** Positions behind calls and instructions that units do not hold, and those that were jumped to from elsewhere. */
  readonly resumes = new Set<number>();
  readonly instructions = new Map<number, UnitInstruction>();
  readonly #page: number;
  readonly #neighbours = new Map<number, number[]>();

  constructor(c: CpuState, page: number, handlerOf: HandlerOf) {
    this.#page = page;
    for (let at = page; at < page + 4096; at++) {
      const record = recordAt(at);
      if (c.u16[(record + L.R_HANDLER) >> 1] === 0) continue;
      const i = unitInstruction(c, at, handlerOf);
      if (i !== undefined) this.instructions.set(at, i);
      if (i?.target !== undefined) this.#link(at, page + i.target);
      const next = at + c.u8[record + L.R_LEN]!;
      const leaves = i === undefined || i.operation === 'call';
      if (leaves || fallsThrough(i)) this.#link(at, next);
      if (leaves) this.resumes.add(next);
      if (i?.operation === 'jmp' && i.target === undefined) this.#link(at, HUB);
      if (c.u8[record + L.R_HEAT] === 0) continue;
      this.resumes.add(at);
      this.#link(HUB, at);
    }
  }

  #link(a: number, b: number): void {
    this.#add(a, b);
    this.#add(b, a);
  }
  #add(a: number, b: number): void {
    const list = this.#neighbours.get(a);
    if (list === undefined) this.#neighbours.set(a, [b]);
    else list.push(b);
  }

  /** The `limit` instructions nearest to `start`; `avoid`: by offset in the page, 1 for those to leave out. */
  around(start: number, limit: number, avoid?: Uint8Array): Map<number, UnitInstruction> {
    const found = new Map<number, UnitInstruction>();
    const seen = new Set([start]);
    const queue = [start];
    for (let k = 0; k < queue.length && found.size < limit; k++) {
      const at = queue[k]!;
      const i = this.instructions.get(at);
      if (i !== undefined) found.set(at, i);
      for (const n of this.#neighbours.get(at) ?? []) {
        if (seen.has(n) || (n !== HUB && (pageOf(n) !== this.#page || avoid?.[n & 0xfff] === 1))) continue;
        seen.add(n);
        queue.push(n);
      }
    }
    return found;
  }
}

/** What may belong to a unit. */
export interface Limits {
  /** Most instructions of the page that the CPU was seen in. */
  readonly own: number;
  /** Most instructions of other pages; 0: none are looked at. */
  readonly others: number;
  /** Arrivals from afar that make code in another page worth holding; up to L.HEAT_MOST. */
  readonly arrivals: number;
}

/**
 * The code around `start`: all that hangs together with it in its page if that is not too much, else the nearest of those that are in no
 * unit yet (`covered`: 1 by offset in the page); then what it often leads to in other pages. Undefined: there is none that a unit can
 * hold, or nothing in other pages where that was asked for.
 */
export function discover(
  c: CpuState,
  start: number,
  limits: Limits,
  handlerOf: HandlerOf,
  covered: Uint8Array | undefined,
): UnitShape | undefined {
  const pages = new UnitPages(c, pageOf(start));
  const graph = new PageGraph(c, pageOf(start), handlerOf);
  if (!graph.instructions.has(start)) return undefined;
  let found = graph.around(start, limits.own + 1);
  if (found.size > limits.own) found = graph.around(start, limits.own, covered);
  const { resumes } = graph;
  const own = found.size;
  if (limits.others > 0) follow(c, pages, found, resumes, limits, handlerOf);
  if (limits.others > 0 && found.size === own) return undefined;
  const blocks = cutBlocks(found, resumes, pages);
  return { blocks, entries: findEntries(blocks, resumes, pages), pages };
}

/** Adds instructions of other pages: where `found` leads to, the nearest first. */
function follow(
  c: CpuState,
  pages: UnitPages,
  found: Map<number, UnitInstruction>,
  resumes: Set<number>,
  limits: Limits,
  handlerOf: HandlerOf,
): void {
  const own = new Set([...found.keys()].map(pageOf));
  const queue: number[] = [];
  const seen = new Set<number>();
  const lead = (page: number, offset: number): number | undefined => {
    const to = pages.resolve(page, offset);
    if (to === undefined || (pageOf(to) !== page && c.u8[recordAt(to) + L.R_HEAT]! < limits.arrivals))
      return undefined;
    if (!seen.has(to) && !own.has(pageOf(to))) {
      seen.add(to);
      queue.push(to);
    }
    return to;
  };
  const leave = (i: UnitInstruction): void => {
    const page = pageOf(i.at);
    if (i.target !== undefined) lead(page, i.target);
    const next = i.offset + i.length;
    if (i.operation === 'call') {
      const to = lead(page, next);
      if (to !== undefined) resumes.add(to);
    } else if (fallsThrough(i)) lead(page, next);
  };
  for (const i of found.values()) leave(i);
  const most = found.size + limits.others;
  for (let k = 0; k < queue.length && found.size < most; k++) {
    const at = queue[k]!;
    const record = recordAt(at);
    const i = unitInstruction(c, at, handlerOf);
    if (c.u8[record + L.R_HEAT] !== 0) resumes.add(at);
    if (i !== undefined) {
      found.set(at, i);
      leave(i);
    } else if (c.u16[(record + L.R_HANDLER) >> 1] !== 0) {
      const next = lead(pageOf(at), (at & 0xfff) + c.u8[record + L.R_LEN]!);
      if (next !== undefined) resumes.add(next);
    }
  }
}

function cutBlocks(
  found: ReadonlyMap<number, UnitInstruction>,
  resumes: ReadonlySet<number>,
  pages: UnitPages,
): UnitBlock[] {
  const flowsInto = new Set<number>();
  const targets = new Set<number | undefined>();
  for (const i of found.values()) {
    if (i.target !== undefined) targets.add(pages.resolve(pageOf(i.at), i.target));
    const next = i.offset + i.length;
    // Blocks end with their page.
    if (!endsBlock(i) && next < 4096) flowsInto.add(i.at + i.length);
  }
  const leaders = [...found.keys()]
    .filter((at) => targets.has(at) || resumes.has(at) || !flowsInto.has(at))
    .sort((a, b) => a - b);
  const index = new Map<number | undefined, number>(leaders.map((at, i) => [at, i]));
  return leaders.map((at, i) => {
    const instructions: UnitInstruction[] = [];
    let end = at & 0xfff;
    for (;;) {
      const here = pageOf(at) + end;
      const instruction = end < 4096 ? found.get(here) : undefined;
      if (instruction === undefined || (here !== at && index.has(here))) break;
      instructions.push(instruction);
      end += instruction.length;
      if (endsBlock(instruction)) break;
    }
    const last = instructions.at(-1)!;
    const successors: number[] = [];
    for (const to of [last.target, fallsThrough(last) ? end : undefined]) {
      const block = to === undefined ? undefined : index.get(pages.resolve(pageOf(at), to));
      if (block !== undefined && !successors.includes(block)) successors.push(block);
    }
    return { index: i, at, instructions, end, successors };
  });
}

function findEntries(blocks: readonly UnitBlock[], resumes: ReadonlySet<number>, pages: UnitPages): number[] {
  const entries = new Set(blocks.map((b) => b.index));
  for (const b of blocks) for (const to of b.successors) entries.delete(to);
  for (const b of blocks) if (resumes.has(b.at)) entries.add(b.index);
  const byPosition = new Map<number | undefined, number>(blocks.map((b) => [b.at, b.index]));
  for (const b of blocks) {
    const last = b.instructions.at(-1)!;
    if (last.operation !== 'call' || last.target === undefined) continue;
    const called = byPosition.get(pages.resolve(pageOf(b.at), last.target));
    if (called !== undefined) entries.add(called);
  }
  // Loop heads: interpreted code must find its way into a long-running loop.
  const state = new Uint8Array(blocks.length);
  const visit = (b: number): void => {
    state[b] = 1;
    for (const to of blocks[b]!.successors) {
      if (state[to] === 1) entries.add(to);
      else if (state[to] === 0) visit(to);
    }
    state[b] = 2;
  };
  for (const entry of [...entries]) if (state[entry] === 0) visit(entry);
  for (const b of blocks) {
    if (state[b.index] !== 0) continue;
    entries.add(b.index);
    visit(b.index);
  }
  return [...entries].sort((a, b) => a - b);
}
