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

/**
 * Blocks reachable from `entry` inside the page (fall-through, jumps, and what follows calls), `limit` instructions at most.
 * Block 0 is the entry's.
 */
export function discover(
  c: CpuState,
  records: number,
  entry: number,
  limit: number,
  handlerOf: HandlerOf,
): UnitBlock[] {
  const found = new Map<number, UnitInstruction>();
  const leaders = new Set<number>([entry]);
  const work = [entry];
  while (work.length > 0) {
    let offset = work.pop()!;
    while (!found.has(offset) && found.size < limit) {
      const i = unitInstruction(c, records, offset, handlerOf);
      if (i === undefined) {
        // A cold operation: code behind it is likely to run, and is an entry of its own.
        const length = c.u8[records + (offset << L.RECORD_SHIFT) + L.R_LEN]!;
        const next = offset + length;
        if (
          length > 0 &&
          next < 4096 &&
          handlerOf(records + (next << L.RECORD_SHIFT)) !== undefined &&
          !leaders.has(next)
        ) {
          leaders.add(next);
          work.push(next);
        }
        break;
      }
      found.set(offset, i);
      const next = offset + i.length;
      if (i.target !== undefined && i.target >= 0 && i.target < 4096) {
        leaders.add(i.target);
        work.push(i.target);
      }
      if (endsBlock(i)) {
        if (isConditional(i.operation) || i.operation === 'call') {
          leaders.add(next);
          work.push(next);
        }
        break;
      }
      offset = next;
    }
  }
  return cutBlocks(entry, leaders, found);
}

function cutBlocks(
  entry: number,
  leaders: ReadonlySet<number>,
  found: ReadonlyMap<number, UnitInstruction>,
): UnitBlock[] {
  const order = [entry, ...[...leaders].filter((l) => l !== entry).sort((a, b) => a - b)];
  const blocks: UnitBlock[] = [];
  for (const leader of order) {
    const instructions: UnitInstruction[] = [];
    let offset = leader;
    for (;;) {
      const i = found.get(offset);
      if (i === undefined || (instructions.length > 0 && leaders.has(offset))) break;
      instructions.push(i);
      offset += i.length;
      if (endsBlock(i)) break;
    }
    if (instructions.length === 0) {
      if (leader === entry) return [];
      continue;
    }
    blocks.push({ index: blocks.length, offset: leader, instructions, end: offset });
  }
  return blocks;
}
