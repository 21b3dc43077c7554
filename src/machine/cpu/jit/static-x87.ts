/**
 * The register stack within a block of a unit: TOP at the first x87 instruction and the tags are in locals, how far TOP has moved
 * and which registers are in use is known. The CPU state is written along.
 */
import * as L from '../layout.ts';
import type { Node } from '../generate/node.ts';
import { X87Stack } from '../generate/x87/stack.ts';
import type { Static } from './static.ts';

export class StaticX87 extends X87Stack {
  readonly #unit: Static;
  readonly #top: Node;
  readonly #tags: Node;
  #loaded = false;
  /** TOP less the TOP in the local, 0–7. */
  #moved = 0;
  /** By register, relative to the TOP in the local: in use, empty, or not known. */
  readonly #full: (boolean | undefined)[] = new Array<boolean | undefined>(8).fill(undefined);

  constructor(s: Static, top: Node, tags: Node) {
    super(s);
    this.#unit = s;
    this.#top = top;
    this.#tags = tags;
  }

  /** Nothing is known from here on. */
  forget(): void {
    this.#loaded = false;
    this.#moved = 0;
    this.#full.fill(undefined);
  }

  /** To be called where every path comes by. */
  #load(): void {
    if (this.#loaded) return;
    this.#loaded = true;
    this.s.out.set(this.#top, this.s.state(L.FPU_TOP));
    this.s.out.set(this.#tags, this.s.state(L.FPU_TAGS));
  }
  #relative(i: Node): number {
    return (this.#moved + i.n) & 7;
  }

  protected override top(): Node {
    return this.physical(this.s.k(0));
  }
  protected override tags(): Node {
    this.#load();
    return this.#tags;
  }
  protected override setTags(v: Node): void {
    this.#unit.forgetMmx();
    this.s.out.set(this.#tags, v);
    super.setTags(this.#tags);
  }
  protected override physical(i: Node): Node {
    this.#load();
    const { s } = this;
    const by = this.#relative(i);
    return by === 0 ? this.#top : s.and(s.add(this.#top, s.k(by)), s.k(7));
  }

  override requireFull(...registers: Node[]): void {
    this.#load();
    const unknown = registers.filter((i) => this.#full[this.#relative(i)] !== true);
    if (unknown.length > 0) super.requireFull(...unknown);
    for (const i of registers) this.#full[this.#relative(i)] = true;
  }
  override requireRoom(): void {
    this.#load();
    const below = this.#relative(this.s.k(7));
    if (this.#full[below] !== false) super.requireRoom();
    this.#full[below] = false;
  }
  override fill(i: Node): void {
    if (this.#full[this.#relative(i)] !== true) super.fill(i);
    this.#full[this.#relative(i)] = true;
  }
  override free(i: Node): void {
    if (this.#full[this.#relative(i)] !== false) super.free(i);
    this.#full[this.#relative(i)] = false;
  }
  override move(step: number): void {
    this.#load();
    this.#unit.forgetMmx();
    this.#moved = (this.#moved + step) & 7;
    this.setTop(this.physical(this.s.k(0)));
  }
}
