/** A unit under way: made in small steps between stretches of guest code, so that nobody waits for a whole page to be compiled. */
import type { CpuState } from '../cpu-state.ts';
import { type CompiledUnit, UnitWriter, type UnitPlace } from './compile.ts';
import { analyse, type Flow } from './flow.ts';
import { discover, type HandlerOf, type Limits, type UnitShape } from './unit.ts';

/** About a page of instructions. */
export const PAGE_LIMITS: Limits = { own: 1300, others: 0, arrivals: 0 };

export class Compilation {
  /** Position at which the CPU was seen. */
  readonly start: number;
  readonly #c: CpuState;
  readonly #limits: Limits;
  readonly #place: UnitPlace;
  readonly #covered: Uint8Array | undefined;
  readonly #handlerOf: HandlerOf;
  #shape: UnitShape | undefined;
  #flow: Flow | undefined;
  #writer: UnitWriter | undefined;
  #unit: CompiledUnit | undefined;
  #module: WebAssembly.Module | undefined;

  constructor(
    c: CpuState,
    start: number,
    limits: Limits,
    place: UnitPlace,
    handlerOf: HandlerOf,
    covered: Uint8Array | undefined,
  ) {
    this.#c = c;
    this.start = start;
    this.#limits = limits;
    this.#place = place;
    this.#handlerOf = handlerOf;
    this.#covered = covered;
  }

  get handler(): number {
    return this.#place.handler;
  }
  /** It is being made of code of this record page, among others. */
  holds(page: number): boolean {
    return this.start >> 12 === page || this.#shape!.blocks.some((block) => block.at >> 12 === page);
  }

  /** The next step. False: there is none; `module` is there, or there was nothing to compile. */
  step(): boolean {
    if (this.#shape === undefined) {
      this.#shape = discover(this.#c, this.start, this.#limits, this.#handlerOf, this.#covered);
      return this.#shape !== undefined;
    }
    if (this.#flow === undefined) {
      this.#flow = analyse(this.#shape);
      return true;
    }
    if (this.#writer === undefined) {
      this.#writer = new UnitWriter(this.#c, this.#shape, this.#flow, this.#place);
      return true;
    }
    if (this.#writer.advance()) return true;
    if (this.#unit === undefined) {
      this.#unit = this.#writer.finish();
      return true;
    }
    this.#module = new WebAssembly.Module(this.#unit.bytes);
    return false;
  }

  /** What was made; undefined: there is nothing at that place that a unit can hold. */
  get result(): CompilationResult | undefined {
    if (this.#module === undefined) return undefined;
    return {
      place: this.#place,
      shape: this.#shape!,
      flow: this.#flow!,
      unit: this.#unit!,
      module: this.#module,
    };
  }
}

export interface CompilationResult {
  readonly place: UnitPlace;
  readonly shape: UnitShape;
  readonly flow: Flow;
  readonly unit: CompiledUnit;
  readonly module: WebAssembly.Module;
}
