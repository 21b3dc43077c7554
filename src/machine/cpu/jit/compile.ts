/**
 * Compiles a unit to a WebAssembly module: one function, entered at any block.
 *
 * Blocks lie in address order, each behind the end of a WebAssembly block: a jump forward is a plain branch, the next block is
 * fallen into, a jump to the block itself is a loop; other jumps backward go through a br_table at the top.
 */
import type { CpuState } from '../cpu-state.ts';
import { FunctionWriter } from '../generate/function-writer.ts';
import { binary, constant, load, type Node } from '../generate/node.ts';
import * as L from '../layout.ts';
import { I32, ModuleWriter } from '../wasm/module-writer.ts';
import {
  FIXED_LOCALS,
  KIND_ADD,
  KIND_DEC,
  KIND_INC,
  KIND_SUB,
  LOCAL_BLOCK,
  LOCAL_COUNT,
  LOCAL_FA,
  LOCAL_FB,
  LOCAL_FC,
  LOCAL_FR,
  LOCAL_KIND,
  LOCAL_NEXT,
  LOCAL_RECORD,
  LOCAL_TLB,
  local,
  Static,
  type UnitFrame,
} from './static.ts';
import type { UnitBlock } from './unit.ts';

export const UNIT_IMPORTS = { fillRead: 0, fillWrite: 1 } as const;
/** Function numbers within a unit's module. */
const CARRY_FUNCTION = 2;

/** FC from kind, first and second operand, result; see static.ts. One function serves all units alike. */
function carryFunction(): FunctionWriter {
  const out = new FunctionWriter(5);
  const [kind, a, b, r, fc] = [0, 1, 2, 3, 4].map(local) as [Node, Node, Node, Node, Node];
  const not = (v: Node): Node => binary('xor', v, constant(-1));
  const shift = (size: number): Node => constant(32 - size);
  const carries = (v: Node, size: number): Node =>
    size === 32
      ? binary('and', v, constant(0xc0000008 | 0))
      : binary(
          'or',
          binary('and', binary('shl', v, shift(size)), constant(0xc0000000 | 0)),
          binary('and', v, constant(8)),
        );
  const t = out.newTemp();
  const sizes = [8, 16, 32];
  out.if(binary('eq', kind, constant(0)), () => out.return(fc));
  sizes.forEach((size, i) => {
    out.if(binary('eq', kind, constant(KIND_ADD + i)), () => {
      out.set(t, binary('or', binary('and', a, b), binary('and', binary('or', a, b), not(r))));
      out.return(carries(t, size));
    });
    out.if(binary('eq', kind, constant(KIND_SUB + i)), () => {
      out.set(t, binary('or', binary('and', not(a), b), binary('and', binary('or', not(a), b), r)));
      out.return(carries(t, size));
    });
    // INC and DEC: b is the carry that stays.
    const smallest = size === 8 ? 0x80 : size === 16 ? 0x8000 : 0x80000000 | 0;
    const mask = size === 32 ? -1 : (1 << size) - 1;
    for (const [base, edge] of [
      [KIND_INC, r],
      [KIND_DEC, a],
    ] as const) {
      out.if(binary('eq', kind, constant(base + i)), () => {
        const of = binary('eq', binary('and', edge, constant(mask)), constant(smallest));
        const cf = binary('shl', b, constant(31));
        const both = binary('or', cf, binary('shl', binary('xor', b, of), constant(30)));
        const af = binary('and', binary('shr', binary('xor', a, r), constant(1)), constant(8));
        out.return(binary('or', both, af));
      });
    }
  });
  out.unreachable();
  return out;
}

export interface CompiledUnit {
  readonly bytes: Uint8Array;
  readonly instructions: number;
}

/** Writes the unit's module. `handler`: its handler number; `records`: its record page. */
export function compileUnit(
  c: CpuState,
  blocks: readonly UnitBlock[],
  records: number,
  handler: number,
  memoryPages: number,
): CompiledUnit {
  const body = new FunctionWriter(FIXED_LOCALS + 1);
  const code = body.code;
  const count = blocks.length;
  const byOffset = new Map(blocks.map((b) => [b.offset, b.index]));
  let at = 0;
  /** Depth of a block's own loop, or -1. */
  let ownLoop = -1;
  let lastOfBlock = false;

  const toTop = (): void => body.branch(count - 1 - at + body.depth);
  const frame: UnitFrame = {
    edge: (from, offset) => {
      const target = byOffset.get(offset);
      if (target === undefined) {
        body.set(local(LOCAL_NEXT), constant(records + (offset << L.RECORD_SHIFT)));
        if (offset >= 4096) {
          body.set(local(LOCAL_NEXT), constant(L.END_RECORDS + ((offset - 4096) << L.RECORD_SHIFT)));
        }
        frame.exit();
      } else if (target > from.index) body.branch(target - at - 1 + body.depth);
      else if (target === from.index && ownLoop >= 0) body.branch(body.depth - ownLoop);
      else {
        body.set(local(LOCAL_BLOCK), constant(target));
        toTop();
      }
    },
    exit: () => body.branch(count - at + body.depth),
    bail: () => body.branch(count - at + 1 + body.depth),
    dispatch: toTop,
    carryFunction: CARRY_FUNCTION,
    imports: UNIT_IMPORTS,
    handler,
    records,
  };
  const emitter = new Static(body, c, frame);

  for (let i = 0; i < 2; i++) openBlock(code, 0x02); // bail, exit
  openBlock(code, 0x03); // top
  for (let i = 0; i < count; i++) openBlock(code, 0x02);
  body.emit(local(LOCAL_BLOCK));
  code.u8(0x0e);
  code.leb(count - 1);
  for (let i = 0; i < count; i++) code.leb(i);
  let instructions = 0;
  for (const block of blocks) {
    code.u8(0x0b);
    at = block.index;
    body.depth = 0;
    ownLoop = -1;
    lastOfBlock = jumpsToItself(block);
    if (lastOfBlock) {
      openBlock(code, 0x03);
      body.depth = 1;
      ownLoop = 1;
    }
    emitter.block(block);
    if (lastOfBlock) code.u8(0x0b);
    instructions += block.instructions.length;
  }
  code.u8(0x00);
  code.u8(0x0b); // top
  code.u8(0x00);
  code.u8(0x0b); // exit
  body.depth = 0;
  body.resetTemps();
  writeBack(body, emitter);
  body.store(32, constant(L.ICNT), 0, binary('add', local(LOCAL_COUNT), constant(1)));
  body.return(local(LOCAL_NEXT));
  code.u8(0x0b); // bail
  writeBack(body, emitter);
  body.store(32, constant(L.ICNT), 0, local(LOCAL_COUNT));
  body.return(binary('or', local(LOCAL_NEXT), constant(1)));

  const module = new ModuleWriter(memoryPages);
  module.import('fillRead', [I32, I32], [I32]);
  module.import('fillWrite', [I32, I32], [I32]);
  const carry = carryFunction();
  const carryType = module.type([I32, I32, I32, I32, I32], [I32]);
  module.function(carryType, carry.finish(), carry.code);
  const locals = body.finish();
  const whole = new FunctionWriter(FIXED_LOCALS + 1);
  readIn(whole, emitter);
  whole.code.append(code);
  module.function(module.type([I32], [I32]), [[FIXED_LOCALS, I32], ...locals], whole.code, 'unit');
  return { bytes: module.finish(), instructions };
}

function openBlock(code: { u8(n: number): void }, opcode: number): void {
  code.u8(opcode);
  code.u8(0x40);
}

function jumpsToItself(block: UnitBlock): boolean {
  return block.instructions.at(-1)!.target === block.offset;
}

/** Registers and flags into locals. */
function readIn(out: FunctionWriter, emitter: Static): void {
  const state = (address: number): Node => load('ld32', constant(address), 0);
  for (let r = 0; r < 8; r++) {
    if ((emitter.used & (1 << r)) !== 0) out.set(local(1 + r), state(L.REGS + r * L.REG_STRIDE));
  }
  out.set(local(LOCAL_FR), state(L.FR));
  out.set(local(LOCAL_FC), state(L.FC));
  out.set(local(LOCAL_COUNT), state(L.ICNT));
  out.set(local(LOCAL_TLB), state(L.TLBBASE));
  out.set(local(LOCAL_BLOCK), load('ld16u', local(LOCAL_RECORD), L.R_UNIT_BLOCK));
}

function writeBack(out: FunctionWriter, emitter: Static): void {
  for (let r = 0; r < 8; r++) {
    if ((emitter.dirty & (1 << r)) !== 0) {
      out.store(32, constant(L.REGS + r * L.REG_STRIDE), 0, local(1 + r));
    }
  }
  const args = [LOCAL_KIND, LOCAL_FA, LOCAL_FB, LOCAL_FR, LOCAL_FC].map(local);
  const carry: Node = { op: 'call', type: 'i32', n: CARRY_FUNCTION, args };
  const lazy = binary('ne', local(LOCAL_KIND), constant(0));
  out.if(lazy, () => out.set(local(LOCAL_FC), carry));
  out.store(32, constant(L.FC), 0, local(LOCAL_FC));
  out.store(32, constant(L.FR), 0, local(LOCAL_FR));
}
