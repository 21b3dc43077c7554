/** A shared WebAssembly function in the making: what emitters offer, without an instruction around it. */
import { FunctionWriter } from '../function-writer.ts';
import { binary, constant, isConstant, load, type Node, type NodeType, unary } from '../node.ts';
import { Values } from '../values.ts';

export class Routine extends Values {
  readonly out: FunctionWriter;

  constructor(parameters: number) {
    super();
    this.out = new FunctionWriter(parameters);
  }
  parameter(n: number): Node {
    return { op: 'local', type: 'i32', n };
  }
  /** Holds a value, so that it is computed once and now. */
  let(v: Node): Node {
    return isConstant(v) ? v : this.variable(v);
  }
  /** A temporary that may be set again. */
  variable(v: Node): Node {
    const t = this.out.newTemp(v.type);
    this.out.set(t, v);
    return t;
  }
  temp(type: NodeType): Node {
    return this.out.newTemp(type);
  }
  set(t: Node, v: Node): void {
    this.out.set(t, v);
  }
  if(condition: Node, then: () => void, otherwise?: () => void): void {
    this.out.if(condition, then, otherwise);
  }
  return(v: Node | number): void {
    this.out.return(typeof v === 'number' ? constant(v) : v);
  }
  state(address: number): Node {
    return load('ld32', constant(address), 0);
  }
  setState(address: number, v: Node): void {
    this.out.store(32, constant(address), 0, v);
  }

  // ---- 64 bits

  add64(a: Node, b: Node): Node {
    return this.bin64('add', a, b);
  }
  sub64(a: Node, b: Node): Node {
    return this.bin64('sub', a, b);
  }
  mul64(a: Node, b: Node): Node {
    return this.bin64('mul', a, b);
  }
  and64(a: Node, b: Node): Node {
    return this.bin64('and', a, b);
  }
  or64(a: Node, b: Node): Node {
    return this.bin64('or', a, b);
  }
  /** Shifts by an i64 node or a number. */
  shl64(a: Node, by: Node | number): Node {
    return this.bin64('shl', a, this.#amount(by));
  }
  shr64(a: Node, by: Node | number): Node {
    return this.bin64('shr', a, this.#amount(by));
  }
  #amount(by: Node | number): Node {
    if (typeof by === 'number') return this.k64(by);
    return by.type === 'i64' ? by : this.u64(by);
  }
  ltu64(a: Node, b: Node): Node {
    return this.bin64('ltu', a, b);
  }
  gtu64(a: Node, b: Node): Node {
    return this.bin64('gtu', a, b);
  }
  eqz64(a: Node): Node {
    return unary('eqz64', a);
  }
  nonzero64(a: Node): Node {
    return this.bin64('ne', a, this.k64(0));
  }
  /** Bit 63 is set. */
  top64(a: Node): Node {
    return this.bin64('lts', a, this.k64(0));
  }
  clz64(a: Node): Node {
    return unary('clz64', a, 'i64');
  }
  ltu(a: Node, b: Node): Node {
    return binary('ltu', a, b);
  }
}
