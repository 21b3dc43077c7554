/** Writes one WebAssembly function body from nodes and statements. Temporaries are pooled by type. */
import { CodeBuffer } from '../wasm/code-buffer.ts';
import { F32, F64, I32, I64, V128 } from '../wasm/module-writer.ts';
import type { Node, NodeType } from './node.ts';

const BINARY: Readonly<Record<string, number>> = {
  eq: 0x46,
  ne: 0x47,
  lts: 0x48,
  ltu: 0x49,
  gts: 0x4a,
  gtu: 0x4b,
  les: 0x4c,
  leu: 0x4d,
  ges: 0x4e,
  geu: 0x4f,
  add: 0x6a,
  sub: 0x6b,
  mul: 0x6c,
  divs: 0x6d,
  divu: 0x6e,
  rems: 0x6f,
  remu: 0x70,
  and: 0x71,
  or: 0x72,
  xor: 0x73,
  shl: 0x74,
  sar: 0x75,
  shr: 0x76,
  rotl: 0x77,
  rotr: 0x78,
  eq64: 0x51,
  ne64: 0x52,
  lts64: 0x53,
  ltu64: 0x54,
  gts64: 0x55,
  gtu64: 0x56,
  add64: 0x7c,
  sub64: 0x7d,
  mul64: 0x7e,
  divs64: 0x7f,
  divu64: 0x80,
  rems64: 0x81,
  remu64: 0x82,
  and64: 0x83,
  or64: 0x84,
  xor64: 0x85,
  shl64: 0x86,
  sar64: 0x87,
  shr64: 0x88,
};
const UNARY: Readonly<Record<string, number>> = {
  eqz: 0x45,
  clz: 0x67,
  clz64: 0x79,
  ctz64: 0x7a,
  ctz: 0x68,
  popcnt: 0x69,
  sx8: 0xc0,
  sx16: 0xc1,
  eqz64: 0x50,
  wrap: 0xa7,
  extends: 0xac,
  extendu: 0xad,
};
const LOAD: Readonly<Record<string, number>> = {
  ld32: 0x28,
  ld64: 0x29,
  ld8u: 0x2d,
  ld16u: 0x2f,
  ldf32: 0x2a,
  ldf64: 0x2b,
};
const STORE: Readonly<Record<number, number>> = { 8: 0x3a, 16: 0x3b, 32: 0x36, 64: 0x37 };
/** Vector loads, behind FD. */
const LOAD_VECTOR: Readonly<Record<string, number>> = { ldv: 0, ldv32: 92, ldv64: 93 };
const STORE_VECTOR = 11;

const TYPES: readonly NodeType[] = ['i32', 'i64', 'f32', 'f64', 'v128'];
const TYPE_CODES: Readonly<Record<NodeType, number>> = { i32: I32, i64: I64, f32: F32, f64: F64, v128: V128 };

/** Temporaries of a pool are numbered from here, so that they are told from parameters until finish(). */
const POOL_BASE: Readonly<Record<NodeType, number>> = {
  i32: 1000,
  i64: 2000,
  f32: 3000,
  f64: 4000,
  v128: 5000,
};

export class FunctionWriter {
  readonly code = new CodeBuffer();
  readonly #params: number;
  readonly #used: Record<NodeType, number> = { i32: 0, i64: 0, f32: 0, f64: 0, v128: 0 };
  readonly #most: Record<NodeType, number> = { i32: 0, i64: 0, f32: 0, f64: 0, v128: 0 };
  /** Positions of local numbers to patch: [byte position, pooled number]. Each takes two bytes (padded LEB). */
  readonly #patches: [number, number][] = [];
  /** Open blocks, for branch distances. */
  depth = 0;

  constructor(params: number) {
    this.#params = params;
  }

  newTemp(type: NodeType = 'i32'): Node {
    const k = this.#used[type]++;
    if (this.#used[type] > this.#most[type]) this.#most[type] = this.#used[type];
    return { op: 'local', type, n: POOL_BASE[type] + k };
  }

  /** All temporaries are free again: called between handlers that share a function. */
  resetTemps(): void {
    for (const type of TYPES) this.#used[type] = 0;
  }

  #localIndex(n: number): void {
    if (n < 1000) {
      this.code.leb(n);
      return;
    }
    this.#patches.push([this.code.length, n]);
    this.code.u8(0x80);
    this.code.u8(0x00);
  }

  /** Emits a value onto the stack. */
  emit(v: Node): void {
    const code = this.code;
    switch (v.op) {
      case 'const':
        code.u8(0x41);
        code.sleb(v.n);
        return;
      case 'const64':
        code.u8(0x42);
        code.sleb64(BigInt(v.n));
        return;
      case 'local':
        code.u8(0x20);
        this.#localIndex(v.n);
        return;
      case 'tee':
        this.emit(v.a!);
        code.u8(0x22);
        this.#localIndex(v.n);
        return;
      case 'select':
        this.emit(v.a!);
        this.emit(v.b!);
        this.emit(v.c!);
        code.u8(0x1b);
        return;
      case 'call':
        for (const arg of v.args!) this.emit(arg);
        code.u8(0x10);
        code.leb(v.n);
        return;
      case 'vector':
        for (const operand of v.args!) this.emit(operand);
        code.u8(0xfd);
        code.leb(v.n);
        for (const byte of v.lanes ?? []) code.u8(byte);
        return;
      case 'float':
        for (const operand of v.args!) this.emit(operand);
        code.u8(v.n);
        return;
      case 'const-f32':
      case 'const-f64':
        this.#floatConstant(v);
        return;
      default:
        this.#operator(v);
    }
  }

  #floatConstant(v: Node): void {
    const wide = v.type === 'f64';
    const bytes = new DataView(new ArrayBuffer(8));
    if (wide) bytes.setFloat64(0, v.n, true);
    else bytes.setFloat32(0, v.n, true);
    this.code.u8(wide ? 0x44 : 0x43);
    for (let i = 0; i < (wide ? 8 : 4); i++) this.code.u8(bytes.getUint8(i));
  }

  #operator(v: Node): void {
    const code = this.code;
    const vectorLoad = LOAD_VECTOR[v.op];
    if (vectorLoad !== undefined) {
      this.emit(v.a!);
      code.u8(0xfd);
      code.leb(vectorLoad);
      code.u8(0);
      code.leb(v.n);
      return;
    }
    const load = LOAD[v.op];
    if (load !== undefined) {
      this.emit(v.a!);
      code.u8(load);
      code.u8(0);
      code.leb(v.n);
      return;
    }
    const unary = UNARY[v.op];
    if (unary !== undefined) {
      this.emit(v.a!);
      code.u8(unary);
      return;
    }
    const binary = BINARY[v.op];
    if (binary === undefined) throw new Error(`no WebAssembly operation for node ${v.op}`);
    this.emit(v.a!);
    this.emit(v.b!);
    code.u8(binary);
  }

  /** Writes the number of a local after an instruction emitted by hand. */
  rawLocal(local: Node): void {
    this.#localIndex(local.n);
  }

  set(local: Node, value: Node): void {
    this.emit(value);
    this.code.u8(0x21);
    this.#localIndex(local.n);
  }

  /** Stores the low `bits` of an integer, or all of a float or vector, at address + offset. */
  store(bits: number, address: Node, offset: number, value: Node): void {
    this.emit(address);
    this.emit(value);
    if (value.type === 'v128') {
      this.code.u8(0xfd);
      this.code.leb(STORE_VECTOR);
    } else if (value.type === 'f32') this.code.u8(0x38);
    else if (value.type === 'f64') this.code.u8(0x39);
    else this.code.u8(STORE[bits]!);
    this.code.u8(0);
    this.code.leb(offset);
  }

  if(condition: Node, then: () => void, otherwise?: () => void): void {
    this.emit(condition);
    this.code.u8(0x04);
    this.code.u8(0x40);
    this.depth++;
    then();
    if (otherwise !== undefined) {
      this.code.u8(0x05);
      otherwise();
    }
    this.depth--;
    this.code.u8(0x0b);
  }

  /** A loop; `again()` in the body goes back to its start, else it is left at the end. */
  loop(body: (again: () => void) => void): void {
    this.code.u8(0x03);
    this.code.u8(0x40);
    this.depth++;
    const level = this.depth;
    body(() => this.branch(this.depth - level));
    this.depth--;
    this.code.u8(0x0b);
  }

  branch(distance: number): void {
    this.code.u8(0x0c);
    this.code.leb(distance);
  }

  return(value: Node): void {
    this.emit(value);
    this.code.u8(0x0f);
  }

  drop(value: Node): void {
    this.emit(value);
    this.code.u8(0x1a);
  }

  /** memmove of `bytes` bytes. */
  memoryCopy(to: Node, from: Node, bytes: Node): void {
    this.emit(to);
    this.emit(from);
    this.emit(bytes);
    for (const b of [0xfc, 10, 0, 0]) this.code.u8(b);
  }

  memoryFill(to: Node, value: Node, bytes: Node): void {
    this.emit(to);
    this.emit(value);
    this.emit(bytes);
    for (const b of [0xfc, 11, 0]) this.code.u8(b);
  }

  unreachable(): void {
    this.code.u8(0x00);
  }

  /** Numbers the temporaries for good; returns the locals' declaration. */
  finish(): readonly (readonly [count: number, type: number])[] {
    const base: Record<number, number> = {};
    let next = this.#params;
    for (const type of TYPES) {
      base[POOL_BASE[type]] = next;
      next += this.#most[type];
    }
    for (const [at, n] of this.#patches) {
      const pool = Math.floor(n / 1000) * 1000;
      const index = base[pool]! + (n - pool);
      this.code.bytes[at] = (index & 0x7f) | 0x80;
      this.code.bytes[at + 1] = index >> 7;
    }
    return TYPES.filter((t) => this.#most[t] > 0).map((t) => [this.#most[t], TYPE_CODES[t]] as const);
  }
}
