/**
 * Builds the interpreter: one WebAssembly module with a switch over the hottest handlers and a function for each of the others.
 *
 * Handler numbers: 0 decode, 1 cold operation, 2 page-crossing instruction, 3 end of page, then the switch's, then the table's.
 */
import { type Definition, ISA } from '../isa.ts';
import * as L from '../layout.ts';
import { I32, ModuleWriter } from '../wasm/module-writer.ts';
import { Dynamic, IMPORT_NAMES, IMPORTS } from './dynamic.ts';
import type { Shape } from './emitter.ts';
import { FunctionWriter } from './function-writer.ts';
import { HOT_HANDLERS } from './hot-handlers.ts';
import { binary, constant, load, type Node } from './node.ts';
import { SEMANTICS } from './semantics/index.ts';
import { X87_OPERATIONS } from './semantics/x87.ts';
import { defineX87Functions } from './x87/functions.ts';

export const HANDLER_DECODE = 0;
export const HANDLER_COLD = 1;
export const HANDLER_CROSS = 2;
export const HANDLER_END = 3;
export const FIXED_HANDLERS = 4;
/** What a compiled unit returns that has jumped out of its page, to an EIP whose page the code TLB does not know. */
export const UNIT_LOOKUP = 2;
/** Compiled units that may live at once; V8 ends the process near 30,000 modules. */
export const MAX_UNITS = 6000;

/** Operations that differ outside flat 32-bit code even without a memory operand. */
const GENERAL_OPERATIONS = new Set([
  'push',
  'pushf',
  'push_sreg',
  'pop',
  'call',
  'ret',
  'jmp',
  'leave',
  'loop',
  'loope',
  'loopne',
  'jcxz',
  'xlat',
  ...Array.from({ length: 16 }, (_, cc) => `j${cc}`),
]);
const STRING_OPERATIONS = new Set(['movs', 'stos', 'lods', 'cmps', 'scas']);
const RELATIVE = /^J/;
const SEGMENT_REGISTER = /^[C-GS]S$/;

export interface Handler {
  readonly operation: string;
  readonly shape: Shape;
}

/** Name of a handler: operation.size.form, then x indexed, f far, g general. */
export function handlerKey(operation: string, shape: Shape): string {
  const suffix = shape.general ? 'g' : shape.indexed ? 'x' : shape.far ? 'f' : '';
  return `${operation}.${shape.size}.${shape.form}${suffix}`;
}

/** Letters of the operands that a form has; see Shape. */
export function formOf(definition: Definition, memory: boolean): string {
  let form = '';
  for (const o of definition.operands) {
    if (SEGMENT_REGISTER.test(o)) continue;
    const letter = o[0]!;
    if ('EMOWQ'.includes(letter)) form += memory ? 'M' : 'R';
    else if ('VPUN'.includes(letter) || letter === 'G' || letter === 'Z' || o === 'AL' || o === 'eAX')
      form += 'R';
    else if (letter === 'I' || o === '1') form += 'I';
    else if (letter === 'J') form += 'J';
    else if (o === 'CL') form += 'C';
  }
  return form;
}

const NUMBERED = new Set(['movnti', 'mov_to_sreg', 'pop_sreg']);

/** MMX, SSE, loads of segments: records hold register numbers as those of cold operations do, so that these can take over. */
export function isNumbered(definition: Definition): boolean {
  return NUMBERED.has(definition.operation) || definition.operands.some((o) => /^[PQVWNU]/.test(o));
}

/** Size in bits: 0 for "by operand size". */
export function sizeOf(definition: Definition): number {
  if (isNumbered(definition)) return 32;
  const letter = definition.implied !== '' ? definition.implied : definition.operands[0]?.slice(-1);
  const first = definition.operands[0];
  if (definition.implied === '' && (first === 'AL' || first === 'CL')) return 8;
  if (definition.implied === '' && first === 'eAX') return 0;
  if (letter === 'b' && !RELATIVE.test(first ?? '')) return 8;
  if (letter === 'd' || letter === undefined) return 32;
  return 0;
}

function isGeneralOperation(name: string): boolean {
  return GENERAL_OPERATIONS.has(name) || STRING_OPERATIONS.has(name.replace(/^rep(e|ne)?_/, ''));
}
export { isGeneralOperation };

/** All handlers that the instruction table calls for. */
export function enumerateHandlers(): Handler[] {
  const found = new Map<string, Handler>();
  const put = (operation: string, shape: Shape): void => {
    const key = handlerKey(operation, shape);
    if (!found.has(key)) found.set(key, { operation, shape });
  };
  for (const definition of ISA.definitions) {
    for (const operation of operationNames(definition)) {
      if (SEMANTICS[operation] === undefined) continue;
      for (const size of sizeOf(definition) === 0 ? [32, 16] : [sizeOf(definition)]) {
        for (const shape of shapes(definition, operation, size)) put(operation, shape);
      }
    }
  }
  for (const [operation, memory] of X87_OPERATIONS) {
    const shape = { size: 32, form: memory ? 'M' : 'R', indexed: false, general: false, far: false };
    put(operation, { ...shape, indexed: memory });
    if (memory) put(operation, { ...shape, general: true });
  }
  return [...found.values()];
}

/** An operation and its REP forms. */
export function operationNames(definition: Definition): string[] {
  const o = definition.operation;
  if (definition.repeat === 'rep') return [o, `rep_${o}`];
  if (definition.repeat === 'repcc') return [o, `repe_${o}`, `repne_${o}`];
  return [o];
}

function shapes(definition: Definition, operation: string, size: number): Shape[] {
  const plain = { size, indexed: false, general: false, far: false };
  const result: Shape[] = [];
  const numbered = isNumbered(definition);
  const hasRm = definition.operands.some((o) => 'EWQ'.includes(o[0]!) && !SEGMENT_REGISTER.test(o));
  const hasMemory = hasRm || definition.operands.some((o) => o[0] === 'M' || o[0] === 'O');
  if (hasRm || !hasMemory) {
    const form = formOf(definition, false);
    if (RELATIVE.test(form)) {
      if (size === 32) result.push({ ...plain, form }, { ...plain, form, far: true });
      result.push({ ...plain, form, general: true });
      return result;
    }
    result.push({ ...plain, form });
    if (isGeneralOperation(operation)) result.push({ ...plain, form, general: true });
  }
  if (hasMemory) {
    const form = formOf(definition, true);
    result.push({ ...plain, form, general: true });
    if (!numbered) result.push({ ...plain, form });
    if (numbered || definition.operands.some((o) => o[0] === 'E' || o[0] === 'M')) {
      result.push({ ...plain, form, indexed: true });
    }
  }
  return result;
}

export interface InterpreterModule {
  readonly bytes: Uint8Array;
  /** Handler numbers by key. */
  readonly handlers: ReadonlyMap<string, number>;
  /** Handler number FIXED_HANDLERS + i. */
  readonly list: readonly Handler[];
  /** Handler numbers from here on are compiled units. */
  readonly unitBase: number;
  /** Handler number n is entry n - tableBase of the exported table. */
  readonly tableBase: number;
}

/** Declared size of the imported memory, in 64 KiB pages: what every machine has at least. */
const MEMORY_PAGES = L.RECORDS_END / 65536;

/**
 * `coldNumber`: numbers of cold operations that generated code calls by name. `image`: the module's bytes, if they were made
 * before; they must come from this very version.
 */
export function buildInterpreter(
  coldNumber: (name: string) => number,
  image?: Uint8Array,
): InterpreterModule {
  const all = enumerateHandlers();
  const byKey = new Map(all.map((h) => [handlerKey(h.operation, h.shape), h]));
  const hot = [...new Set(HOT_HANDLERS)].map((key) => byKey.get(key)).filter((h) => h !== undefined);
  const hotSet = new Set(hot);
  const others = all.filter((h) => !hotSet.has(h));
  const list = [...hot, ...others];
  const unitBase = FIXED_HANDLERS + list.length;
  return {
    bytes: image ?? writeModule(hot, others, unitBase, coldNumber),
    handlers: new Map(list.map((h, i) => [handlerKey(h.operation, h.shape), FIXED_HANDLERS + i])),
    list,
    unitBase,
    tableBase: FIXED_HANDLERS + hot.length,
  };
}

function writeModule(
  hot: readonly Handler[],
  others: readonly Handler[],
  unitBase: number,
  coldNumber: (name: string) => number,
): Uint8Array {
  const module = new ModuleWriter(MEMORY_PAGES);
  for (const name of IMPORT_NAMES) {
    module.import(name, new Array<number>(IMPORTS[name]!).fill(I32), [I32]);
  }
  defineX87Functions(module);
  const handlerType = module.type([I32], [I32]);
  const elements = others.map((h) => {
    const out = new FunctionWriter(1);
    const dynamic = new Dynamic(out, { coldNumber });
    dynamic.handler(h.operation, h.shape);
    out.unreachable();
    return module.function(handlerType, out.finish(), out.code);
  });
  writeSwitch(module, hot, handlerType, unitBase, coldNumber);
  module.table(elements, MAX_UNITS);
  return module.finish();
}

const REC: Node = { op: 'local', type: 'i32', n: 0 };
const COUNT: Node = { op: 'local', type: 'i32', n: 1 };
const NUMBER: Node = { op: 'local', type: 'i32', n: 2 };

/**
 * run(rec, count) → record to go on with (count is used up), or 0 (see EXIT_REASON). Cases lie in nested blocks, the switch
 * in the innermost one: case i begins where block i ends.
 */
function writeSwitch(
  module: ModuleWriter,
  hot: readonly Handler[],
  handlerType: number,
  unitBase: number,
  coldNumber: (name: string) => number,
): void {
  const out = new FunctionWriter(3);
  const code = out.code;
  const cases = FIXED_HANDLERS + hot.length + 1;
  code.u8(0x03); // loop: next instruction
  code.u8(0x40);
  out.set(NUMBER, load('ld16u', REC, L.R_HANDLER));
  code.u8(0x03); // loop: dispatch on NUMBER
  code.u8(0x40);
  for (let i = 0; i < cases; i++) {
    code.u8(0x02);
    code.u8(0x40);
  }
  out.emit(NUMBER);
  code.u8(0x0e);
  code.leb(cases - 1);
  for (let i = 0; i < cases; i++) code.leb(i);
  for (let i = 0; i < cases; i++) {
    code.u8(0x0b); // end of block i
    out.depth = 0;
    // Blocks still open around this case, then the dispatch loop, then the instruction loop.
    const dispatch = cases - 1 - i;
    const toTop = (): void => out.branch(dispatch + 1 + out.depth);
    const next = (target: Node): void => {
      out.set(REC, target);
      out.set(COUNT, binary('sub', COUNT, constant(1)));
      out.if(binary('les', COUNT, constant(0)), () => {
        out.store(32, constant(L.ICNT), 0, COUNT);
        out.return(REC);
      });
      toTop();
    };
    const dynamic = new Dynamic(out, { next, coldNumber });
    out.resetTemps();
    writeCase(
      i,
      dynamic,
      out,
      next,
      toTop,
      () => out.branch(dispatch + out.depth),
      hot,
      handlerType,
      unitBase,
    );
  }
  code.u8(0x0b);
  code.u8(0x0b);
  out.unreachable();
  // Temporaries are numbered behind NUMBER, which is a local and no parameter: declared first.
  module.function(module.type([I32, I32], [I32]), [[1, I32], ...out.finish()], code, 'run');
}

function writeCase(
  i: number,
  dynamic: Dynamic,
  out: FunctionWriter,
  next: (target: Node) => void,
  toTop: () => void,
  redispatch: () => void,
  hot: readonly Handler[],
  handlerType: number,
  unitBase: number,
): void {
  if (i === HANDLER_DECODE) {
    const rec = dynamic.slow('decode', REC);
    out.if(dynamic.eqz(rec), () => dynamic.fault());
    toTop();
  } else if (i === HANDLER_COLD) {
    const rec = dynamic.slow('cold', REC);
    out.if(dynamic.eqz(rec), () => dynamic.fault());
    next(rec);
  } else if (i === HANDLER_CROSS) {
    // Known, if the page behind is the one that it was decoded with.
    const second = load('ld16u', REC, L.R_UNIT_BLOCK);
    out.if(second, () => {
      const known = dynamic.add(dynamic.shl(second, constant(17)), constant(L.RECORDS - L.RECORD_PAGE_BYTES));
      out.set(NUMBER, load('ld16u', REC, L.R_ORIG));
      out.if(dynamic.eq(dynamic.pageBehind(), known), redispatch);
    });
    out.set(NUMBER, dynamic.slow('cross', REC));
    out.if(NUMBER, redispatch);
    dynamic.fault();
  } else if (i === HANDLER_END) {
    out.set(REC, dynamic.endOfPage());
    toTop();
  } else if (i < FIXED_HANDLERS + hot.length) {
    const h = hot[i - FIXED_HANDLERS]!;
    dynamic.handler(h.operation, h.shape);
  } else {
    // Handlers with functions of their own, as long as one leads to the next: compiled units above all.
    out.loop((again) => {
      out.store(32, constant(L.ICNT), 0, COUNT);
      out.emit(REC);
      out.emit(binary('sub', NUMBER, constant(FIXED_HANDLERS + hot.length)));
      out.code.u8(0x11);
      out.code.leb(handlerType);
      out.code.leb(0);
      const rec = out.newTemp();
      out.code.u8(0x21);
      out.rawLocal(rec);
      out.if(dynamic.eqz(rec), () => out.return(constant(0)));
      out.set(COUNT, load('ld32', constant(L.ICNT), 0));
      out.if(binary('and', rec, constant(3)), () => {
        // A compiled unit that cannot carry on marks the record: its instruction is interpreted once.
        out.if(binary('and', rec, constant(1)), () => {
          out.set(REC, binary('sub', rec, constant(1)));
          out.if(binary('les', COUNT, constant(0)), () => out.return(REC));
          out.set(NUMBER, load('ld16u', REC, L.R_HANDLER));
          out.if(binary('geu', NUMBER, constant(unitBase)), () => {
            out.set(NUMBER, load('ld16u', REC, L.R_ORIG));
          });
          redispatch();
        });
        // UNIT_LOOKUP: it jumped to EIP, which the code TLB does not know.
        out.set(rec, dynamic.slow('lookup', load('ld32', constant(L.EIP), 0)));
        out.if(dynamic.eqz(rec), () => dynamic.fault());
        dynamic.noteArrival(rec);
      });
      out.set(REC, rec);
      out.set(COUNT, binary('sub', COUNT, constant(1)));
      out.if(binary('les', COUNT, constant(0)), () => {
        out.store(32, constant(L.ICNT), 0, COUNT);
        out.return(REC);
      });
      out.set(NUMBER, load('ld16u', REC, L.R_HANDLER));
      out.if(binary('geu', NUMBER, constant(FIXED_HANDLERS + hot.length)), again);
      redispatch();
    });
  }
}
