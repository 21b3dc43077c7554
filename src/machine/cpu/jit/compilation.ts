/** A unit under way: made in small steps between stretches of guest code, so that nobody waits for a whole page to be compiled. */
import type { CpuState } from '../cpu-state.ts';
import { type CompiledUnit, UnitWriter, type UnitPlace } from './compile.ts';
import { analyse, type Flow } from './flow.ts';
import { discover, type HandlerOf, type UnitShape } from './unit.ts';

/** Most instructions of a unit: about a page of them. */
const MAX_INSTRUCTIONS = 1300;

export class Compilation {
  /** Record page, and the byte offset in it at which the CPU was seen. */
  readonly page: number;
  readonly #offset: number;
  readonly #c: CpuState;
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
    page: number,
    offset: number,
    place: UnitPlace,
    handlerOf: HandlerOf,
    covered: Uint8Array | undefined,
  ) {
    this.#c = c;
    this.page = page;
    this.#offset = offset;
    this.#place = place;
    this.#handlerOf = handlerOf;
    this.#covered = covered;
  }

  get handler(): number {
    return this.#place.handler;
  }

  /** The next step. False: there is none; `module` is there, or there was nothing to compile. */
  step(): boolean {
    if (this.#shape === undefined) {
      const { records } = this.#place;
      this.#shape = discover(
        this.#c,
        records,
        this.#offset,
        MAX_INSTRUCTIONS,
        this.#handlerOf,
        this.#covered,
      );
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
