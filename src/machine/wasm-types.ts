/**
 * What of the WebAssembly objects appears in declarations that users compile against: not everybody's TypeScript knows the
 * namespace (it comes with the library `dom`).
 */
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}

export interface WasmTable {
  readonly length: number;
  set(index: number, value: unknown): void;
}
