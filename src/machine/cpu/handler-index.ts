/** From a decoded instruction to its record: which handler, which operand addresses. Holds the interpreter's module. */
import { coldNumber, coldOperationNumber } from './cold-operations.ts';
import type { CpuState } from './cpu-state.ts';
import { type Decoded, NO_REGISTER } from './decoder.ts';
import {
  buildInterpreter,
  formOf,
  HANDLER_COLD,
  handlerKey,
  type InterpreterModule,
  isGeneralOperation,
  isNumbered,
  sizeOf,
} from './generate/interpreter.ts';
import { INTERPRETER_IMAGE } from './generate/interpreter-image.ts';
import { SEMANTICS } from './generate/semantics/index.ts';
import { x87Operation } from './generate/semantics/x87.ts';
import { x87NeedsCmov } from './isa-x87.ts';
import type { Definition } from './isa.ts';
import * as L from './layout.ts';
import { FEATURE_CMOV } from './system/cpu-models.ts';

/** Per definition: what filling a record needs, worked out once. */
interface Plan {
  readonly generated: boolean;
  readonly numbered: boolean;
  readonly segmentLoad: boolean;
  readonly fixedSize: number;
  readonly formRegister: string;
  readonly formMemory: string;
  readonly generalOperation: boolean;
  readonly relative: boolean;
  /** Handler numbers by size (8, 16, 32), memory, variant ('' x f g), and repeat (none, rep/repe, repne); -1 unknown yet. */
  readonly handlers: Int32Array;
  readonly operandBits: readonly number[];
}

function fromBase64(text: string): Uint8Array {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

const VARIANTS = ['', 'x', 'f', 'g'];

/** A load of ES, DS, FS or GS that generated code may do: SS holds interrupts back and decides the stack's size. */
function isFlatLoad(c: CpuState, d: Decoded): boolean {
  const pops16 = d.definition!.operation === 'pop_sreg' && d.operandSize === 16;
  return c.get(L.MODE) === L.MODE_F32 && d.reg !== L.SS && d.reg !== L.CS && !pops16;
}

export class HandlerIndex {
  readonly module: WebAssembly.Module;
  readonly interpreter: InterpreterModule;
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #plans = new Map<Definition, Plan>();

  constructor() {
    const image = INTERPRETER_IMAGE === undefined ? undefined : fromBase64(INTERPRETER_IMAGE);
    const built = buildInterpreter(coldNumber, image);
    this.interpreter = built;
    this.module = new WebAssembly.Module(built.bytes);
    this.#numbers = built.handlers;
  }

  #plan(definition: Definition): Plan {
    const known = this.#plans.get(definition);
    if (known !== undefined) return known;
    const base = definition.operation;
    const plan: Plan = {
      generated: SEMANTICS[base] !== undefined,
      numbered: isNumbered(definition),
      segmentLoad: base === 'mov_to_sreg' || base === 'pop_sreg',
      fixedSize: sizeOf(definition),
      formRegister: formOf(definition, false),
      formMemory: formOf(definition, true),
      generalOperation: isGeneralOperation(base),
      relative: formOf(definition, false).startsWith('J'),
      handlers: new Int32Array(3 * 2 * 4 * 3).fill(-1),
      operandBits: definition.operands.map((o) => {
        const letter = o.slice(-1);
        if (o === 'AL' || o === 'CL' || letter === 'b') return 8;
        return 0;
      }),
    };
    this.#plans.set(definition, plan);
    return plan;
  }

  #handler(
    definition: Definition,
    plan: Plan,
    size: number,
    memory: boolean,
    variant: number,
    repeat: number,
  ): number {
    const sizeIndex = size === 8 ? 0 : size === 16 ? 1 : 2;
    const at = ((sizeIndex * 2 + (memory ? 1 : 0)) * 4 + variant) * 3 + repeat;
    const known = plan.handlers[at]!;
    if (known >= 0) return known;
    let operation = definition.operation;
    if (repeat !== 0) {
      operation = `${definition.repeat === 'rep' ? 'rep' : repeat === 1 ? 'repe' : 'repne'}_${operation}`;
    }
    const letter = VARIANTS[variant];
    const key = handlerKey(operation, {
      size,
      form: memory ? plan.formMemory : plan.formRegister,
      indexed: letter === 'x',
      far: letter === 'f',
      general: letter === 'g',
    });
    const number = this.#numbers.get(key);
    if (number === undefined) throw new Error(`no handler ${key}`);
    plan.handlers[at] = number;
    return number;
  }

  /** Fills the record at `rec` for the decoded instruction at byte `offset` of its page. */
  fill(c: CpuState, rec: number, d: Decoded, offset: number): void {
    const end = offset + d.length;
    const next =
      end < 4096 ? d.length << L.RECORD_SHIFT : L.END_RECORDS + ((end - 4096) << L.RECORD_SHIFT) - rec;
    c.u8[rec + L.R_LEN] = d.length;
    c.set(rec + L.R_NEXT, next);
    c.u8[rec + L.R_FLAGS] =
      (d.operandSize === 32 ? L.RF_OP32 : 0) |
      (d.addressSize === 32 ? L.RF_ADDR32 : 0) |
      (d.memory ? L.RF_MEM : 0) |
      d.repeat |
      (d.lock ? L.RF_LOCK : 0);
    c.set(rec + L.R_IMM, d.immediate);
    const definition = d.definition;
    if (definition === undefined) {
      this.#cold(c, rec, coldNumber(d.invalid === 'gp' ? 'too_long' : 'undefined'));
      return;
    }
    let { feature } = definition;
    if (definition.operation === 'fpu_escape' && x87NeedsCmov(d.opcode, d.modrm, d.memory))
      feature = FEATURE_CMOV;
    if (feature !== 0 && (c.get(L.FEATURES) & feature) === 0) {
      this.#cold(c, rec, coldNumber('undefined'));
      return;
    }
    this.#memoryOperand(c, rec, d);
    const plan = this.#plan(definition);
    if (!plan.generated || plan.numbered) {
      c.u16[(rec + L.R_R1) >> 1] = d.rm;
      c.u16[(rec + L.R_R2) >> 1] = d.reg;
    }
    if (!plan.generated) {
      if (!d.memory) c.set(rec + L.R_DISP, d.immediate2);
      if (definition.operation === 'fpu_escape') {
        c.set(rec + L.R_IMM, ((d.opcode & 7) << 8) | d.modrm);
        const handler = this.#x87Handler(c, d);
        if (handler >= 0) {
          c.set(rec + L.R_HANDLER, handler);
          return;
        }
      }
      this.#cold(c, rec, coldOperationNumber(definition.operation));
      return;
    }
    if (plan.segmentLoad && !isFlatLoad(c, d)) {
      this.#cold(c, rec, coldNumber(definition.operation));
      return;
    }
    if (plan.numbered) {
      const variant = d.memory ? (this.#isGeneral(c, d) ? 3 : 1) : 0;
      c.set(rec + L.R_HANDLER, this.#handler(definition, plan, 32, d.memory, variant, 0));
      return;
    }
    if (definition.operation === 'push_sreg') c.u16[(rec + L.R_SEG) >> 1] = L.SEGS + d.reg * L.SEG_STRIDE;
    else this.#registerOperands(c, rec, d, definition, plan);
    const size = plan.fixedSize === 0 ? d.operandSize : plan.fixedSize;
    const variant = this.#variant(c, rec, d, plan, size, offset);
    const repeat =
      definition.repeat === '' || d.repeat === 0
        ? 0
        : definition.repeat === 'rep'
          ? 1
          : d.repeat === L.RF_REP
            ? 1
            : 2;
    c.set(rec + L.R_HANDLER, this.#handler(definition, plan, size, d.memory, variant, repeat));
  }

  /** Handler of an instruction D8–DF, or -1 if it is only cold. */
  #x87Handler(c: CpuState, d: Decoded): number {
    const operation = x87Operation(d.opcode, d.modrm, d.memory);
    if (operation === undefined) return -1;
    const general = d.memory && this.#isGeneral(c, d);
    const indexed = d.memory && !general;
    const form = d.memory ? 'M' : 'R';
    return this.#numbers.get(handlerKey(operation, { size: 32, form, indexed, far: false, general }))!;
  }

  #cold(c: CpuState, rec: number, number: number): void {
    c.u16[(rec + L.R_ORIG) >> 1] = number;
    c.set(rec + L.R_HANDLER, HANDLER_COLD);
  }

  #memoryOperand(c: CpuState, rec: number, d: Decoded): void {
    c.set(rec + L.R_DISP, d.displacement);
    c.u16[(rec + L.R_BASE) >> 1] = d.base === NO_REGISTER ? L.ZERO : L.REGS + d.base * L.REG_STRIDE;
    c.u16[(rec + L.R_INDEX) >> 1] = d.index === NO_REGISTER ? L.ZERO : L.REGS + d.index * L.REG_STRIDE;
    c.u8[rec + L.R_SCALE] = d.scale;
    c.u16[(rec + L.R_SEG) >> 1] = L.SEGS + d.segment * L.SEG_STRIDE;
  }

  /** R1 and R2: the register operands in the order of the form's letters. */
  #registerOperands(c: CpuState, rec: number, d: Decoded, definition: Definition, plan: Plan): void {
    let r1 = -1;
    let r2 = -1;
    for (let i = 0; i < definition.operands.length; i++) {
      const o = definition.operands[i]!;
      let number: number;
      if (o[0] === 'G' || o[0] === 'Z') number = d.reg;
      else if (o === 'AL' || o === 'eAX') number = 0;
      else if (o[0] === 'E' && !d.memory) number = d.rm;
      else continue;
      const address =
        plan.operandBits[i] === 8
          ? L.REGS + (number & 3) * L.REG_STRIDE + (number >> 2)
          : L.REGS + number * L.REG_STRIDE;
      // A register is the first operand only where it stands first: with a memory destination it is the second.
      if (r1 < 0 && i === 0) r1 = address;
      else if (r2 < 0) r2 = address;
    }
    c.u16[(rec + L.R_R1) >> 1] = r1 < 0 ? L.ZERO : r1;
    c.u16[(rec + L.R_R2) >> 1] = r2 < 0 ? L.ZERO : r2;
  }

  /** Anything but flat 32-bit code and addresses: FS and GS are never flat. */
  #isGeneral(c: CpuState, d: Decoded): boolean {
    return c.get(L.MODE) !== L.MODE_F32 || d.addressSize === 16 || d.segment > L.DS;
  }

  /** Index into VARIANTS; also turns a relative jump's distance into what its handler wants. */
  #variant(c: CpuState, rec: number, d: Decoded, plan: Plan, size: number, offset: number): number {
    if (plan.relative) {
      if (c.get(L.MODE) !== L.MODE_F32 || size === 16 || d.addressSize === 16) return 3;
      const target = offset + d.length + d.immediate;
      if (target >= 0 && target < 4096) {
        c.set(rec + L.R_IMM, (target - offset) << L.RECORD_SHIFT);
        return 0;
      }
      c.set(rec + L.R_IMM, target);
      return 2;
    }
    const general = this.#isGeneral(c, d);
    if (d.memory) {
      if (general) return 3;
      return d.index === NO_REGISTER ? 0 : 1;
    }
    if (!plan.generalOperation) return 0;
    // RET, CALL and JMP with a 16-bit operand cut EIP.
    return general || (size === 16 && plan.formRegister !== 'RR') ? 3 : 0;
  }
}
