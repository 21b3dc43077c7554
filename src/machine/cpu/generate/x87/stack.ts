/** The register stack as semantics see it: where ST(i) lies, tags, pushes and pops. This one reads and writes the CPU state each time. */
import * as L from '../../layout.ts';
import type { Emitter } from '../emitter.ts';
import type { Node } from '../node.ts';

export class X87Stack {
  protected readonly s: Emitter;

  constructor(s: Emitter) {
    this.s = s;
  }

  protected top(): Node {
    return this.s.state(L.FPU_TOP);
  }
  protected setTop(v: Node): void {
    this.s.setState(L.FPU_TOP, v);
  }
  protected tags(): Node {
    return this.s.state(L.FPU_TAGS);
  }
  protected setTags(v: Node): void {
    this.s.setState(L.FPU_TAGS, v);
  }
  protected physical(i: Node): Node {
    return this.s.and(this.s.add(this.top(), i), this.s.k(7));
  }
  /** Bit of ST(i) in the tags. */
  protected bit(i: Node): Node {
    return this.s.shl(this.s.k(1), this.physical(i));
  }

  /** Address of ST(i); i = 7 is where a push would go. */
  address(i: Node): Node {
    const { s } = this;
    return s.let(s.add(s.shl(this.physical(i), s.k(4)), s.k(L.FPU_REGS)));
  }
  /** Registers that the instruction reads: if one is empty, the cold operation says what happens. */
  requireFull(...registers: Node[]): void {
    const { s } = this;
    const empty = registers.map((i) => s.shr(this.tags(), this.physical(i))).reduce((a, b) => s.or(a, b));
    s.if(s.and(empty, s.k(1)), () => s.cold(s.coldName));
  }
  /** There is room for a push. */
  requireRoom(): void {
    const { s } = this;
    const free = s.and(s.shr(this.tags(), this.physical(s.k(7))), s.k(1));
    s.if(s.eqz(free), () => s.cold(s.coldName));
  }
  /** ST(i) holds something. */
  fill(i: Node): void {
    this.setTags(this.s.and(this.tags(), this.s.not(this.bit(i))));
  }
  free(i: Node): void {
    this.setTags(this.s.or(this.tags(), this.bit(i)));
  }
  /** Status word with TOP in bits 11–13. */
  statusWord(): Node {
    const { s } = this;
    return s.or(s.and(s.state(L.FPU_SW), s.k(0xc7ff)), s.shl(this.top(), s.k(11)));
  }
  /** TOP moves by `step`; tags stay. */
  move(step: number): void {
    this.setTop(this.physical(this.s.k(step & 7)));
  }
  /** The register below TOP has been written: it is ST(0) now. */
  pushed(): void {
    this.move(-1);
    this.fill(this.s.k(0));
  }
  pop(): void {
    this.free(this.s.k(0));
    this.move(1);
  }
}
