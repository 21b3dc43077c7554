/** Looks for pages of zeros in the machine's memory with 128-bit loads: a WebAssembly function of its own over that memory. */
import { type IsZero, isZeroRange } from '../migration/zero-page.ts';
import { CodeBuffer } from './cpu/wasm/code-buffer.ts';
import { I32, ModuleWriter } from './cpu/wasm/module-writer.ts';

/** Bytes a turn of the loop: four loads. */
const STEP_BYTES = 64;
/** WebAssembly opcodes used here (core specification 2.0, chapter 5.4). */
const LOOP = 0x03;
const IF = 0x04;
const END = 0x0b;
const BR_IF = 0x0d;
const RETURN = 0x0f;
const LOCAL_GET = 0x20;
const LOCAL_TEE = 0x22;
const I32_CONST = 0x41;
const I32_LT_U = 0x49;
const I32_ADD = 0x6a;
const EMPTY = 0x40;
const SIMD = 0xfd;
const V128_LOAD = 0x00;
const V128_OR = 0x50;
const V128_ANY_TRUE = 0x53;

type Scan = (start: number, end: number) => number;

/** `(start, end) → 1 if all bytes are zero`; end - start is a multiple of {@link STEP_BYTES}, and not 0. */
function scanBody(): CodeBuffer {
  const code = new CodeBuffer();
  const bytes = (...values: number[]): void => {
    for (const value of values) code.u8(value);
  };
  bytes(LOOP, EMPTY);
  for (let at = 0; at < STEP_BYTES; at += 16) {
    bytes(LOCAL_GET, 0, SIMD, V128_LOAD, 4, at);
    if (at > 0) bytes(SIMD, V128_OR);
  }
  bytes(SIMD, V128_ANY_TRUE, IF, EMPTY, I32_CONST, 0, RETURN, END);
  bytes(LOCAL_GET, 0, I32_CONST);
  code.sleb(STEP_BYTES);
  bytes(I32_ADD, LOCAL_TEE, 0, LOCAL_GET, 1, I32_LT_U, BR_IF, 0, END, I32_CONST, 1);
  return code;
}

/** {@link IsZero} for views of `memory`; other arrays are looked at the ordinary way. */
export function zeroScan(memory: WebAssembly.Memory): IsZero {
  const writer = new ModuleWriter(1);
  writer.function(writer.type([I32, I32], [I32]), [], scanBody(), 'scan');
  let module: WebAssembly.Module;
  try {
    module = new WebAssembly.Module(writer.finish());
  } catch {
    // A host CPU without SSE4.1.
    return isZeroRange;
  }
  const scan = new WebAssembly.Instance(module, { e: { m: memory } }).exports['scan'] as Scan;
  const { buffer } = memory;
  return (bytes, offset, length) => {
    if (bytes.buffer !== buffer || length === 0 || length % STEP_BYTES !== 0) {
      return isZeroRange(bytes, offset, length);
    }
    const start = bytes.byteOffset + offset;
    return scan(start, start + length) !== 0;
  };
}
