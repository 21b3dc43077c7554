/**
 * Reads the RAM section of any QEMU stream: block list, pages in any order, zero pages, pages that come twice, filler.
 * Facts: QEMU 7.2 migration/ram.c (RAM_SAVE_FLAG_*, ram_load_precopy).
 *
 * Not read, refused by name: XBZRLE, compressed pages, hooks (RDMA), multifd: savevm never writes them.
 */
import { MigrationError, type MigrationErrorContext } from './errors.ts';
import { blockHint, sizeHint } from './hints.ts';
import type { RamBlock, RamSink } from './ram-block.ts';
import { latin1 } from './reader.ts';
import { PAGE_BYTES } from './stream-format.ts';
import type { InputWindow } from './stream-input.ts';

/** A page of one repeated byte: no data but that byte. */
export const RAM_SAVE_FLAG_ZERO = 0x02;
/** Not a page: the block list, `address` bytes in all. With address 0 it is filler. */
export const RAM_SAVE_FLAG_MEM_SIZE = 0x04;
/** A page in full. */
export const RAM_SAVE_FLAG_PAGE = 0x08;
/** End of this part of the RAM section. */
export const RAM_SAVE_FLAG_EOS = 0x10;
/** Same block as the record before: no block name. */
export const RAM_SAVE_FLAG_CONTINUE = 0x20;

const REFUSED_FLAGS: readonly (readonly [number, string])[] = [
  [0x01, 'RAM_SAVE_FLAG_FULL'],
  [0x40, 'RAM_SAVE_FLAG_XBZRLE'],
  [0x80, 'RAM_SAVE_FLAG_HOOK'],
  [0x100, 'RAM_SAVE_FLAG_COMPRESS_PAGE'],
  [0x200, 'RAM_SAVE_FLAG_MULTIFD_FLUSH'],
];

/** Longest record: header, name, page. */
export const MAX_RAM_RECORD = 8 + 1 + 255 + PAGE_BYTES;

export class RamReader {
  readonly #blocks: readonly RamBlock[];
  readonly #sink: RamSink;
  /** Pages seen, a byte each; undefined for blocks that the stream does not list. */
  readonly #seen: (Uint8Array | undefined)[];
  #current = -1;
  /** Bytes of blocks still to be listed. */
  #unlisted = 0;

  constructor(blocks: readonly RamBlock[], sink: RamSink) {
    this.#blocks = blocks;
    this.#sink = sink;
    this.#seen = blocks.map(() => undefined);
  }

  /** Names of this machine's blocks that the stream does not list. */
  unlisted(): string[] {
    return this.#blocks.filter((_, i) => this.#seen[i] === undefined).map(({ name }) => name);
  }

  /** One part of the section, to its EOS record. */
  async read(input: InputWindow): Promise<void> {
    for (;;) {
      await input.fill(MAX_RAM_RECORD);
      if (this.#parse(input)) return;
      if (input.atEnd) {
        throw new MigrationError('truncated', 'The VM state ends within the RAM section', {
          ...this.#context(input),
          found: `${input.available} bytes of a record`,
        });
      }
    }
  }

  /** Every page of every listed block (but `without`) was there. Call when the section has ended. */
  checkComplete(without?: string): void {
    if (this.#blocks.length > 0 && this.#seen.every((seen) => seen === undefined)) {
      throw new MigrationError('missing-section', 'The VM state has no RAM', { section: 'ram' });
    }
    for (const [i, seen] of this.#seen.entries()) {
      const missing = seen?.indexOf(0) ?? -1;
      if (missing < 0 || this.#blocks[i]!.name === without) continue;
      throw new MigrationError(
        'truncated',
        `RAM of block "${this.#blocks[i]!.name}" is not complete in the VM state`,
        {
          section: 'ram',
          expected: `${seen!.length} pages`,
          found: `no page at 0x${(missing * PAGE_BYTES).toString(16)}`,
        },
      );
    }
  }

  /** Parses whole records. True at EOS; false when the next record is not wholly in the window. */
  #parse(input: InputWindow): boolean {
    const bytes = input.bytes;
    const end = input.end;
    while (this.#parsable(input)) {
      if (this.#unlisted > 0) {
        this.#listBlock(input);
        continue;
      }
      const at = input.position;
      const low = word(bytes, at + 4);
      const flags = low & 0xfff;
      const address = word(bytes, at) * 0x1_0000_0000 + ((low & ~0xfff) >>> 0);
      const kind = flags & ~RAM_SAVE_FLAG_CONTINUE;
      if (kind === RAM_SAVE_FLAG_PAGE || kind === RAM_SAVE_FLAG_ZERO) {
        const data = at + 8 + (flags & RAM_SAVE_FLAG_CONTINUE ? 0 : 1 + bytes[at + 8]!);
        const length = kind === RAM_SAVE_FLAG_PAGE ? PAGE_BYTES : 1;
        if (data + length > end) return false;
        this.#page(input, flags, address, data);
        input.position = data + length;
      } else if (kind === RAM_SAVE_FLAG_MEM_SIZE) {
        this.#unlisted = address;
        input.position = at + 8;
      } else if (kind === RAM_SAVE_FLAG_EOS) {
        input.position = at + 8;
        return true;
      } else {
        throw this.#badFlags(input, flags);
      }
    }
    return false;
  }

  /** Whether the window holds the next record wholly. */
  #parsable(input: InputWindow): boolean {
    const { bytes, position, available } = input;
    if (this.#unlisted > 0) return available >= 1 && available >= 9 + bytes[position]!;
    if (available < 8) return false;
    const flags = word(bytes, position + 4) & 0xfff;
    const kind = flags & ~RAM_SAVE_FLAG_CONTINUE;
    if (kind !== RAM_SAVE_FLAG_PAGE && kind !== RAM_SAVE_FLAG_ZERO) return true;
    const data = kind === RAM_SAVE_FLAG_PAGE ? PAGE_BYTES : 1;
    if (flags & RAM_SAVE_FLAG_CONTINUE) return available >= 8 + data;
    return available >= 9 && available >= 9 + bytes[position + 8]! + data;
  }

  #page(input: InputWindow, flags: number, address: number, data: number): void {
    const { bytes, position } = input;
    if (!(flags & RAM_SAVE_FLAG_CONTINUE)) {
      const length = bytes[position + 8]!;
      if (!this.#isCurrent(bytes, position + 9, length)) {
        this.#current = this.#find(input, latin1(bytes.subarray(position + 9, position + 9 + length)));
      }
    }
    const seen = this.#seen[this.#current];
    if (seen === undefined) {
      throw new MigrationError('invalid-format', 'Ack, bad migration stream!', {
        ...this.#context(input),
        expected: 'a page of a block in the block list',
      });
    }
    const page = address / PAGE_BYTES;
    if (page >= seen.length) {
      throw new MigrationError(
        'invalid-format',
        `Illegal RAM offset ${address.toString(16).padStart(16, '0')}`,
        {
          ...this.#context(input),
          expected: `below 0x${this.#blocks[this.#current]!.sizeBytes.toString(16)}`,
          found: `0x${address.toString(16)}`,
        },
      );
    }
    seen[page] = 1;
    if (flags & RAM_SAVE_FLAG_PAGE) this.#sink.page(this.#current, address, bytes, data);
    else this.#sink.fill(this.#current, address, bytes[data]!);
  }

  #isCurrent(bytes: Uint8Array, at: number, length: number): boolean {
    const name = this.#blocks[this.#current]?.name;
    if (name === undefined || name.length !== length) return false;
    for (let i = 0; i < length; i++) if (bytes[at + i] !== name.charCodeAt(i)) return false;
    return true;
  }

  #find(input: InputWindow, name: string): number {
    const found = this.#blocks.findIndex((block) => block.name === name);
    if (found >= 0) return found;
    throw new MigrationError('unknown-section', `Can't find block ${name}`, {
      ...this.#context(input),
      found: name,
      ...blockHint(name),
    });
  }

  #listBlock(input: InputWindow): void {
    const { bytes, position } = input;
    const length = bytes[position]!;
    const name = latin1(bytes.subarray(position + 1, position + 1 + length));
    const at = position + 1 + length;
    const sizeBytes = word(bytes, at) * 0x1_0000_0000 + word(bytes, at + 4);
    const index = this.#blocks.findIndex((block) => block.name === name);
    const block = this.#blocks[index];
    const context = { ...this.#context(input), found: name };
    if (block === undefined) {
      throw new MigrationError('unknown-section', `Unknown ramblock "${name}", cannot accept migration`, {
        ...context,
        expected: this.#blocks.map((b) => b.name).join(', '),
        ...blockHint(name),
      });
    }
    if (sizeBytes !== block.sizeBytes) {
      const [saved, here] = [sizeBytes, block.sizeBytes].map((size) => `0x${size.toString(16)}`);
      throw new MigrationError('mismatch', `Size mismatch: ${name}: ${saved} != ${here}: Invalid argument`, {
        ...this.#context(input),
        field: name,
        expected: block.sizeBytes,
        found: sizeBytes,
        ...sizeHint(name, sizeBytes),
      });
    }
    if (sizeBytes > this.#unlisted) {
      throw new MigrationError('invalid-format', 'The RAM block list is longer than its total says', {
        ...context,
        expected: `at most ${this.#unlisted} bytes`,
        found: sizeBytes,
      });
    }
    this.#unlisted -= sizeBytes;
    this.#seen[index] ??= new Uint8Array(sizeBytes / PAGE_BYTES);
    input.position = at + 8;
  }

  #badFlags(input: InputWindow, flags: number): MigrationError {
    const refused = REFUSED_FLAGS.find(([flag]) => flags & flag);
    const text = `Unknown combination of migration flags: 0x${flags.toString(16)}`;
    return new MigrationError(refused ? 'unsupported' : 'invalid-format', text, {
      ...this.#context(input),
      expected: 'ZERO, MEM_SIZE, PAGE, EOS, CONTINUE',
      found: refused?.[1] ?? `0x${flags.toString(16)}`,
    });
  }

  #context(input: InputWindow): MigrationErrorContext {
    return { section: 'ram', offset: input.offset };
  }
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
