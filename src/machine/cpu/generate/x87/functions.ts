/**
 * The shared x87 functions by name: they lie in the interpreter's module, which exports them to compiled units. All parameters and
 * results are i32.
 */
import { I32, type ModuleWriter } from '../../wasm/module-writer.ts';
import * as arithmetic from './arithmetic.ts';
import * as convert from './convert.ts';
import type { Routine } from './routine.ts';

interface SharedFunction {
  readonly parameters: number;
  readonly write: () => Routine;
}

const FUNCTIONS = {
  x87Add: { parameters: 4, write: arithmetic.add },
  x87Multiply: { parameters: 3, write: arithmetic.multiply },
  x87Divide: { parameters: 3, write: arithmetic.divide },
  x87SquareRoot: { parameters: 2, write: arithmetic.squareRoot },
  x87Compare: { parameters: 2, write: convert.compare },
  x87RoundToInteger: { parameters: 2, write: convert.roundToInteger },
  x87ToInteger: { parameters: 2, write: convert.toInteger },
  x87ToSingle: { parameters: 1, write: convert.toSingle },
  x87ToDouble: { parameters: 1, write: convert.toDouble },
} satisfies Record<string, SharedFunction>;

export type X87Function = keyof typeof FUNCTIONS;
const NAMES = Object.keys(FUNCTIONS) as X87Function[];

function signature(name: X87Function): [number[], number[]] {
  return [new Array<number>(FUNCTIONS[name].parameters).fill(I32), [I32]];
}

/** Place of a function among the shared ones. */
export function x87FunctionIndex(name: X87Function): number {
  return NAMES.indexOf(name);
}
export const X87_FUNCTIONS = NAMES.length;

/** Writes and exports them all; they must be the module's first functions. */
export function defineX87Functions(module: ModuleWriter): void {
  for (const name of NAMES) {
    const { out } = FUNCTIONS[name].write();
    out.unreachable();
    const [parameters, results] = signature(name);
    module.function(module.type(parameters, results), out.finish(), out.code, name);
  }
}
export function importX87Functions(module: ModuleWriter): void {
  for (const name of NAMES) module.import(name, ...signature(name));
}
