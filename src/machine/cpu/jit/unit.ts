/**
 * A compiled unit's shape: which instructions of a code page belong to it, cut into basic blocks. Only instructions that have been
 * decoded, that is executed at least once, are taken; everything the unit needs to know of them stands in their records.
 */
import type { CpuState } from '../cpu-state.ts';
import type { Handler } from '../generate/interpreter.ts';
import * as L from '../layout.ts';

/** One instruction of a unit. */
export interface UnitInstruction {
  /** Byte offset in the page. */
  readonly offset: number;
  readonly length: number;
  readonly record: number;
  readonly operation: string;
  readonly handler: Handler;
  /** Relative jumps: byte offset of the target in the page (may lie outside 0–4095), else undefined. */
  readonly target: number | undefined;
}

export interface UnitBlock {
  readonly index: number;
  readonly offset: number;
  readonly instructions: readonly UnitInstruction[];
  /** Offset behind the last instruction. */
  readonly end: number;
  /** Blocks that this one jumps to or falls into. */
  readonly successors: readonly number[];
}

export interface UnitShape {
  /** In address order. */
  readonly blocks: readonly UnitBlock[];
  /** Blocks where the unit may be entered: somebody outside led there or will, or a loop begins. */
  readonly entries: readonly number[];
}

/** Handler behind a record: its own, or the one that a compiled unit hides. Undefined: not generated, or not decoded. */
export type HandlerOf = (record: number) => Handler | undefined;

const CONDITIONAL = /^(j\d+|loop|loope|loopne|jcxz)$/;
const STRING_REPEAT = /^rep/;

export function isConditional(operation: string): boolean {
  return CONDITIONAL.test(operation);
}

/** The instruction at a byte offset, if a unit can hold it. */
export function unitInstruction(
  c: CpuState,
  records: number,
  offset: number,
  handlerOf: HandlerOf,
): UnitInstruction | undefined {
  if (offset < 0 || offset > 4095) return undefined;
  const record = records + (offset << L.RECORD_SHIFT);
  const handler = handlerOf(record);
  if (handler === undefined) return undefined;
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
  return { offset, length: c.u8[record + L.R_LEN]!, record, operation, handler, target };
}

function endsBlock(i: UnitInstruction): boolean {
  return i.target !== undefined || i.operation === 'jmp' || i.operation === 'call' || i.operation === 'ret';
}
function fallsThrough(i: UnitInstruction): boolean {
  return !endsBlock(i) || isConditional(i.operation);
}

/** Neighbour of all indirect jumps and of all places that are jumped to from afar: the cases of a switch belong together. */
const HUB = 8192;

/** What hangs together in a page: neighbours by offset, both ways. Code behind a call or a cold operation is a neighbour too. */
class PageGraph {
  /** Offsets behind calls and instructions that units do not hold, and those that were jumped to from elsewhere. */
  readonly resumes = new Set<number>();
  readonly instructions = new Map<number, UnitInstruction>();
  readonly #neighbours = new Map<number, number[]>();

  constructor(c: CpuState, records: number, handlerOf: HandlerOf) {
    for (let offset = 0; offset < 4096; offset++) {
      const record = records + (offset << L.RECORD_SHIFT);
      if (c.u16[(record + L.R_HANDLER) >> 1] === 0) continue;
      const i = unitInstruction(c, records, offset, handlerOf);
      if (i !== undefined) this.instructions.set(offset, i);
      if (i?.target !== undefined) this.#link(offset, i.target);
      const next = offset + c.u8[record + L.R_LEN]!;
      const leaves = i === undefined || i.operation === 'call';
      if (leaves || fallsThrough(i)) this.#link(offset, next);
      if (leaves) this.resumes.add(next);
      if (i?.operation === 'jmp' && i.target === undefined) this.#link(offset, HUB);
      if (c.u8[record + L.R_HEAT] === 0) continue;
      this.resumes.add(offset);
      this.#link(HUB, offset);
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

  /** The `limit` instructions nearest to `start`; `avoid`: by offset, 1 for those to leave out. */
  around(start: number, limit: number, avoid?: Uint8Array): Map<number, UnitInstruction> {
    const found = new Map<number, UnitInstruction>();
    const seen = new Set([start]);
    const queue = [start];
    for (let k = 0; k < queue.length && found.size < limit; k++) {
      const offset = queue[k]!;
      const i = this.instructions.get(offset);
      if (i !== undefined) found.set(offset, i);
      for (const n of this.#neighbours.get(offset) ?? []) {
        if (seen.has(n) || n < 0 || (n > 4095 && n !== HUB) || avoid?.[n] === 1) continue;
        seen.add(n);
        queue.push(n);
      }
    }
    return found;
  }
}

/**
 * The code around `start`: all that hangs together with it if that is not more than `limit` instructions (`whole`), else the
 * nearest of those that are in no unit yet (`covered`: 1 by offset). Undefined: there is none that a unit can hold.
 */
export function discover(
  c: CpuState,
  records: number,
  start: number,
  limit: number,
  handlerOf: HandlerOf,
  covered: Uint8Array | undefined,
): (UnitShape & { readonly whole: boolean }) | undefined {
  const graph = new PageGraph(c, records, handlerOf);
  if (!graph.instructions.has(start)) return undefined;
  let found = graph.around(start, limit + 1);
  const whole = found.size <= limit;
  if (!whole) found = graph.around(start, limit, covered);
  const blocks = cutBlocks(found, graph.resumes);
  return { blocks, entries: findEntries(blocks, graph.resumes), whole };
}

function cutBlocks(found: ReadonlyMap<number, UnitInstruction>, resumes: ReadonlySet<number>): UnitBlock[] {
  const flowsInto = new Set<number>();
  const targets = new Set<number>();
  for (const i of found.values()) {
    if (i.target !== undefined) targets.add(i.target);
    if (!endsBlock(i)) flowsInto.add(i.offset + i.length);
  }
  const leaders = [...found.keys()]
    .filter((o) => targets.has(o) || resumes.has(o) || !flowsInto.has(o))
    .sort((a, b) => a - b);
  const index = new Map(leaders.map((offset, i) => [offset, i]));
  return leaders.map((offset, i) => {
    const instructions: UnitInstruction[] = [];
    let end = offset;
    for (;;) {
      const instruction = found.get(end);
      if (instruction === undefined || (end !== offset && index.has(end))) break;
      instructions.push(instruction);
      end += instruction.length;
      if (endsBlock(instruction)) break;
    }
    const last = instructions.at(-1)!;
    const successors: number[] = [];
    for (const to of [last.target, fallsThrough(last) ? end : undefined]) {
      const block = to === undefined ? undefined : index.get(to);
      if (block !== undefined && !successors.includes(block)) successors.push(block);
    }
    return { index: i, offset, instructions, end, successors };
  });
}

function findEntries(blocks: readonly UnitBlock[], resumes: ReadonlySet<number>): number[] {
  const entries = new Set(blocks.map((b) => b.index));
  for (const b of blocks) for (const to of b.successors) entries.delete(to);
  for (const b of blocks) if (resumes.has(b.offset)) entries.add(b.index);
  const byOffset = new Map(blocks.map((b) => [b.offset, b.index]));
  for (const b of blocks) {
    const last = b.instructions.at(-1)!;
    const called =
      last.operation === 'call' && last.target !== undefined ? byOffset.get(last.target) : undefined;
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
