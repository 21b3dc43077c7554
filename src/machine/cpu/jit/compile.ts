/**
 * Compiles a unit to a WebAssembly module: one function, entered at some of its blocks through a br_table at the top.
 *
 * Loops are WebAssembly loops and jumps forward leave blocks (flow.ts); what that cannot express goes through the br_table.
 * There are no calls in the blocks: V8 would keep fewer values in registers around them. Whoever needs help bails.
 */
import type { CpuState } from '../cpu-state.ts';
import { FunctionWriter } from '../generate/function-writer.ts';
import { binary, constant, load, type Node } from '../generate/node.ts';
import { importX87Functions, X87_FUNCTIONS } from '../generate/x87/functions.ts';
import * as L from '../layout.ts';
import { I32, ModuleWriter } from '../wasm/module-writer.ts';
import type { Flow } from './flow.ts';
import { carryVectorOf, KIND_ADD, KIND_LOGIC, KIND_VALID, KINDS } from './lazy-flags.ts';
import {
  FIXED_LOCALS,
  LOCAL_BLOCK,
  LOCAL_CA,
  LOCAL_CB,
  LOCAL_COUNT,
  LOCAL_FC,
  LOCAL_FR,
  LOCAL_KIND,
  LOCAL_NEXT,
  LOCAL_RECORD,
  local,
  type UnitFrame,
} from './frame.ts';
import { Static } from './static.ts';
import { recordAt, type UnitBlock, type UnitShape } from './unit.ts';

/** FC from kind, CA, CB, FR and FC; see static.ts. */
function carryFunction(): FunctionWriter {
  const out = new FunctionWriter(5);
  const [kind, ca, cb, fr, fc] = [0, 1, 2, 3, 4].map(local) as [Node, Node, Node, Node, Node];
  out.if(binary('eq', kind, constant(KIND_VALID)), () => out.return(fc));
  out.if(binary('eq', kind, constant(KIND_LOGIC)), () => out.return(constant(0)));
  for (let k = KIND_ADD; k < KINDS; k++) {
    out.if(binary('eq', kind, constant(k)), () => out.return(carryVectorOf(k, ca, cb, fr)));
  }
  out.unreachable();
  return out;
}

export interface CompiledUnit {
  readonly bytes: Uint8Array;
  readonly instructions: number;
}

/** What a unit is compiled for. */
export interface UnitPlace {
  /** Its handler number, the data TLB of its privilege. */
  readonly handler: number;
  readonly tlb: number;
  readonly memoryPages: number;
}

/** Nodes of the frame around the blocks. */
const BAIL = -1;
const EXIT = -2;

/** What is written one after the other: the beginning of a block or loop, an end, a node's content. */
type Piece = readonly [what: 'block' | 'loop' | 'end' | 'content', node: number];

/** Writes a unit's module, a piece at a time: `while (writer.advance()) {}`, then finish(). */
export class UnitWriter implements UnitFrame {
  /** Functions of the module: imported x87 functions where there are x87 instructions, then the carry function, then the unit. */
  readonly carryFunction: number;
  readonly x87Functions = 0;
  readonly handler: number;
  readonly tlb: number;
  readonly #body = new FunctionWriter(FIXED_LOCALS + 1);
  readonly #shape: UnitShape;
  readonly #flow: Flow;
  readonly #memoryPages: number;
  readonly #byPosition: ReadonlyMap<number | undefined, number>;
  readonly #emitter: Static;
  /** Open WebAssembly blocks (branches to one lead to its node's beginning, behind its end) and loops, and where each stands here. */
  readonly #open: number[] = [];
  readonly #openAt = new Map<number, number>();
  /** By block: the kind that the ways to it so far came with, -1 for different ones. */
  readonly #arriving: number[] = [];
  readonly #root: number;
  readonly #pieces: Piece[] = [];
  #written = 0;

  constructor(c: CpuState, shape: UnitShape, flow: Flow, place: UnitPlace) {
    this.handler = place.handler;
    this.tlb = place.tlb;
    this.#memoryPages = place.memoryPages;
    this.#shape = shape;
    const hasX87 = shape.blocks.some((b) => b.instructions.some((i) => i.operation.startsWith('x87_')));
    this.carryFunction = hasX87 ? X87_FUNCTIONS : 0;
    this.#flow = flow;
    this.#root = shape.blocks.length;
    this.#byPosition = new Map(shape.blocks.map((b) => [b.at, b.index]));
    this.#emitter = new Static(this.#body, c, this);
    this.#begin('block', BAIL);
    this.#begin('block', EXIT);
    this.#begin('loop', this.#root);
    this.#tree(this.#root);
    this.#end();
  }

  /** Writes up to the end of the next block of code. False: all are written. */
  advance(): boolean {
    while (this.#written < this.#pieces.length) {
      const [what, node] = this.#pieces[this.#written++]!;
      if (what === 'content') {
        this.#content(node);
        return true;
      }
      if (what === 'end') {
        this.#body.code.u8(0x0b);
        this.#openAt.delete(this.#open.pop()!);
      } else {
        this.#body.code.u8(what === 'loop' ? 0x03 : 0x02);
        this.#body.code.u8(0x40);
        this.#openAt.set(node, this.#open.length);
        this.#open.push(node);
      }
    }
    return false;
  }

  // ---- how blocks and loops lie in each other

  #begin(what: 'block' | 'loop', node: number): void {
    this.#pieces.push([what, node]);
  }
  #end(): void {
    this.#pieces.push(['end', 0]);
  }
  /** A block, and behind it those that it dominates. Those outside a loop come behind its end. */
  #tree(node: number): void {
    const loop = node === this.#root ? undefined : this.#flow.loops.get(node);
    const children = this.#flow.children[node]!;
    if (loop === undefined) {
      this.#within(node, children, 0);
      return;
    }
    const outside = children.filter((n) => !loop.has(n));
    for (const child of outside) this.#begin('block', child);
    this.#begin('loop', node);
    this.#within(
      node,
      children.filter((n) => loop.has(n)),
      0,
    );
    this.#end();
    for (const child of outside.toReversed()) {
      this.#end();
      this.#tree(child);
    }
  }
  #within(node: number, children: readonly number[], from: number): void {
    const child = children[from];
    if (child === undefined) {
      this.#pieces.push(['content', node]);
      return;
    }
    this.#begin('block', child);
    this.#within(node, children, from + 1);
    this.#end();
    this.#tree(child);
  }

  // ---- branches

  /** Levels to an open construct, or -1. */
  #distance(node: number): number {
    const at = this.#openAt.get(node);
    return at === undefined ? -1 : this.#open.length - 1 - at;
  }
  #branch(node: number): void {
    this.#body.branch(this.#distance(node) + this.#body.depth);
  }
  exit(): void {
    this.#branch(EXIT);
  }
  bail(): void {
    this.#branch(BAIL);
  }
  dispatch(): void {
    this.#branch(this.#root);
  }
  endOfPage(k: number): void {
    this.#body.set(local(LOCAL_NEXT), constant(L.END_RECORDS + (k << L.RECORD_SHIFT)));
    this.exit();
  }
  blockAt(page: number, offset: number): number | undefined {
    const position = this.#shape.pages.resolve(page, offset);
    return this.#byPosition.has(position) ? position : undefined;
  }
  edge(position: number, kind: number): void {
    const target = this.#byPosition.get(position);
    if (target === undefined) {
      this.#body.set(local(LOCAL_NEXT), constant(recordAt(position)));
      this.exit();
      return;
    }
    const known = this.#arriving[target];
    this.#arriving[target] = known === undefined || known === kind ? kind : -1;
    if (this.#distance(target) >= 0) {
      this.#branch(target);
      return;
    }
    this.#body.set(local(LOCAL_BLOCK), constant(this.#flow.dispatched.indexOf(target)));
    this.dispatch();
  }

  arriving(block: UnitBlock): number {
    const n = block.index;
    if (this.#flow.loops.has(n) || this.#flow.dispatched.includes(n)) return -1;
    return this.#arriving[n] ?? -1;
  }

  // ---- blocks

  #content(node: number): void {
    this.#body.depth = 0;
    if (node !== this.#root) {
      this.#emitter.block(this.#shape.blocks[node]!);
      return;
    }
    const { code } = this.#body;
    this.#body.emit(local(LOCAL_BLOCK));
    code.u8(0x0e);
    const distances = this.#flow.dispatched.map((n) => this.#distance(n));
    code.leb(distances.length - 1);
    for (const distance of distances) code.leb(distance);
  }

  // ---- the function

  finish(): CompiledUnit {
    const body = this.#body;
    body.code.u8(0x00);
    body.code.u8(0x0b);
    body.depth = 0;
    body.resetTemps();
    writeBack(body, this.#emitter, this.carryFunction);
    body.store(32, constant(L.ICNT), 0, binary('add', local(LOCAL_COUNT), constant(1)));
    body.return(local(LOCAL_NEXT));
    body.code.u8(0x0b);
    writeBack(body, this.#emitter, this.carryFunction);
    body.store(32, constant(L.ICNT), 0, local(LOCAL_COUNT));
    body.return(binary('or', local(LOCAL_NEXT), constant(1)));
    return { bytes: this.#module(), instructions: this.#emitter.instructions };
  }

  #module(): Uint8Array {
    const module = new ModuleWriter(this.#memoryPages);
    if (this.carryFunction !== 0) importX87Functions(module);
    const carry = carryFunction();
    const carryType = module.type([I32, I32, I32, I32, I32], [I32]);
    module.function(carryType, carry.finish(), carry.code);
    const locals = this.#body.finish();
    const whole = new FunctionWriter(FIXED_LOCALS + 1);
    readIn(whole, this.#emitter);
    whole.code.append(this.#body.code);
    module.function(module.type([I32], [I32]), [[FIXED_LOCALS, I32], ...locals], whole.code, 'unit');
    return module.finish();
  }
}

/** Registers and flags into locals. */
function readIn(out: FunctionWriter, emitter: Static): void {
  const state = (address: number): Node => load('ld32', constant(address), 0);
  for (let r = 0; r < 8; r++) {
    if ((emitter.used & (1 << r)) !== 0) out.set(local(1 + r), state(L.REGS + r * L.REG_STRIDE));
  }
  out.set(local(LOCAL_FR), state(L.FR));
  out.set(local(LOCAL_FC), state(L.FC));
  out.set(local(LOCAL_CB), binary('shr', local(LOCAL_FC), constant(31)));
  out.set(local(LOCAL_COUNT), state(L.ICNT));
  out.set(local(LOCAL_BLOCK), load('ld16u', local(LOCAL_RECORD), L.R_UNIT_BLOCK));
}

function writeBack(out: FunctionWriter, emitter: Static, carryFunction: number): void {
  for (let r = 0; r < 8; r++) {
    if ((emitter.dirty & (1 << r)) !== 0) {
      out.store(32, constant(L.REGS + r * L.REG_STRIDE), 0, local(1 + r));
    }
  }
  const args = [LOCAL_KIND, LOCAL_CA, LOCAL_CB, LOCAL_FR, LOCAL_FC].map(local);
  const carry: Node = { op: 'call', type: 'i32', n: carryFunction, args };
  const lazy = binary('ne', local(LOCAL_KIND), constant(0));
  out.if(lazy, () => out.set(local(LOCAL_FC), carry));
  out.store(32, constant(L.FC), 0, local(LOCAL_FC));
  out.store(32, constant(L.FR), 0, local(LOCAL_FR));
}
