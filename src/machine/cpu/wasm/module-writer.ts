/** Assembles a WebAssembly module: types, imported functions and memory, functions, one own table, exports. */
import { CodeBuffer } from './code-buffer.ts';

export const I32 = 0x7f;
export const I64 = 0x7e;
export const F32 = 0x7d;
export const F64 = 0x7c;
export const V128 = 0x7b;

interface FunctionType {
  readonly params: readonly number[];
  readonly results: readonly number[];
}
interface FunctionBody {
  readonly type: number;
  readonly locals: readonly (readonly [count: number, type: number])[];
  readonly body: CodeBuffer;
  readonly exportName: string | undefined;
}

export class ModuleWriter {
  readonly #types: FunctionType[] = [];
  readonly #imports: { name: string; type: number }[] = [];
  readonly #functions: FunctionBody[] = [];
  #elements: readonly number[] | undefined;
  #spare = 0;
  readonly #memoryPages: number;

  /** `memoryPages`: declared minimum of the imported memory `e.m`, in 64 KiB pages. */
  constructor(memoryPages: number) {
    this.#memoryPages = memoryPages;
  }

  type(params: readonly number[], results: readonly number[]): number {
    const key = `${params.join()}>${results.join()}`;
    const found = this.#types.findIndex((t) => `${t.params.join()}>${t.results.join()}` === key);
    if (found >= 0) return found;
    this.#types.push({ params, results });
    return this.#types.length - 1;
  }

  /** Imports function `e.name`. All imports come before the first function. */
  import(name: string, params: readonly number[], results: readonly number[]): number {
    this.#imports.push({ name, type: this.type(params, results) });
    return this.#imports.length - 1;
  }

  function(
    type: number,
    locals: readonly (readonly [count: number, type: number])[],
    body: CodeBuffer,
    exportName?: string,
  ): number {
    this.#functions.push({ type, locals, body, exportName });
    return this.#imports.length + this.#functions.length - 1;
  }

  /** The module's own function table `table`, filled with these function indices, and `spare` empty entries. */
  table(elements: readonly number[], spare: number): void {
    this.#elements = elements;
    this.#spare = spare;
  }

  finish(): Uint8Array {
    const out = new CodeBuffer();
    for (const byte of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) out.u8(byte);
    const section = (id: number, fill: (s: CodeBuffer) => void): void => {
      const s = new CodeBuffer();
      fill(s);
      out.u8(id);
      out.leb(s.length);
      out.append(s);
    };
    section(1, (s) => this.#typeSection(s));
    section(2, (s) => this.#importSection(s));
    section(3, (s) => {
      s.leb(this.#functions.length);
      for (const f of this.#functions) s.leb(f.type);
    });
    if (this.#elements !== undefined) {
      section(4, (s) => {
        s.leb(1);
        s.u8(0x70);
        s.u8(0);
        s.leb(this.#elements!.length + this.#spare);
      });
    }
    section(7, (s) => this.#exportSection(s));
    if (this.#elements !== undefined) section(9, (s) => this.#elementSection(s));
    section(10, (s) => this.#codeSection(s));
    return out.finish();
  }

  #typeSection(s: CodeBuffer): void {
    s.leb(this.#types.length);
    for (const t of this.#types) {
      s.u8(0x60);
      s.leb(t.params.length);
      for (const p of t.params) s.u8(p);
      s.leb(t.results.length);
      for (const r of t.results) s.u8(r);
    }
  }

  #importSection(s: CodeBuffer): void {
    s.leb(this.#imports.length + 1);
    for (const i of this.#imports) {
      s.name('e');
      s.name(i.name);
      s.u8(0);
      s.leb(i.type);
    }
    s.name('e');
    s.name('m');
    s.u8(2);
    s.u8(0);
    s.leb(this.#memoryPages);
  }

  #exportSection(s: CodeBuffer): void {
    const exported: [string, number][] = [];
    this.#functions.forEach((f, i) => {
      if (f.exportName !== undefined) exported.push([f.exportName, this.#imports.length + i]);
    });
    s.leb(exported.length + (this.#elements === undefined ? 0 : 1));
    if (this.#elements !== undefined) {
      s.name('table');
      s.u8(1);
      s.leb(0);
    }
    for (const [name, index] of exported) {
      s.name(name);
      s.u8(0);
      s.leb(index);
    }
  }

  #elementSection(s: CodeBuffer): void {
    s.leb(1);
    s.leb(0);
    s.u8(0x41);
    s.sleb(0);
    s.u8(0x0b);
    s.leb(this.#elements!.length);
    for (const e of this.#elements!) s.leb(e);
  }

  #codeSection(s: CodeBuffer): void {
    s.leb(this.#functions.length);
    for (const f of this.#functions) {
      const b = new CodeBuffer();
      b.leb(f.locals.length);
      for (const [count, type] of f.locals) {
        b.leb(count);
        b.u8(type);
      }
      b.append(f.body);
      b.u8(0x0b);
      s.leb(b.length);
      s.append(b);
    }
  }
}
