/**
 * A Linux kernel as gdb wants it: the ELF file out of a bzImage, with symbols. Debian strips them, but the kernel carries two tables
 * of its own: kallsyms (functions; scripts/kallsyms.c of Linux 6.1 writes it) and what it exports to modules (variables, too).
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

/** Boot protocol (Documentation/arch/x86/boot.rst): setup_sects, payload_offset, payload_length. */
const SETUP_SECTORS = 0x1f1;
const PAYLOAD = 0x248;
/** Behind the xz stream: its length when unpacked. */
const LENGTH_BYTES = 4;
/** All 256 tokens of kallsyms. */
const MAX_TOKENS_BYTES = 2048;

interface Section {
  readonly name: string;
  readonly address: number;
  readonly bytes: Buffer;
}

/** Writes the kernel's ELF file with the symbols named, of those the kernel knows. Needs xz and objcopy. Assumes `nokaslr`. */
export function kernelWithSymbols(bzImage: string, elf: string, names: readonly string[]): void {
  const image = readFileSync(bzImage);
  const start = (image[SETUP_SECTORS]! + 1) * 512 + image.readUInt32LE(PAYLOAD);
  const length = image.readUInt32LE(PAYLOAD + 4) - LENGTH_BYTES;
  const { stdout: kernel } = spawnSync('xz', ['-dc'], {
    input: image.subarray(start, start + length),
    maxBuffer: 64 << 20,
  });
  const sections = sectionsOf(kernel);
  const symbols = new Map([...exportedSymbols(sections), ...functions(sections)]);
  writeFileSync(elf, kernel);
  const wanted = names.flatMap((name) => {
    const address = symbols.get(name);
    const home = sections.find(
      (s) => address !== undefined && address >= s.address && address < s.address + s.bytes.length,
    );
    if (address === undefined || home === undefined) return [];
    const kind = /text/.test(home.name) ? 'function' : 'object';
    return ['--add-symbol', `${name}=${home.name}:${address - home.address},${kind},global`];
  });
  spawnSync('objcopy', [...wanted, elf]);
}

/** ELF32, little-endian. Sections without bytes in the file have none here. */
function sectionsOf(elf: Buffer): Section[] {
  const table = elf.readUInt32LE(32);
  const count = elf.readUInt16LE(48);
  const field = (index: number, at: number) => elf.readUInt32LE(table + index * 40 + at);
  const names = field(elf.readUInt16LE(50), 16);
  return Array.from({ length: count }, (_, i) => {
    const from = names + field(i, 0);
    const inFile = field(i, 4) === 8 ? 0 : field(i, 20);
    return {
      name: elf.toString('latin1', from, elf.indexOf(0, from)),
      address: field(i, 12),
      bytes: elf.subarray(field(i, 16), field(i, 16) + inFile),
    };
  });
}

/** struct kernel_symbol: value, name, namespace, each relative to where it stands (CONFIG_HAVE_ARCH_PREL32_RELOCATIONS). */
function* exportedSymbols(sections: readonly Section[]): Generator<readonly [string, number]> {
  const strings = sections.find(({ name }) => name === '__ksymtab_strings')!;
  for (const { address, bytes } of sections.filter(({ name }) => /^__ksymtab(_gpl)?$/.test(name))) {
    const target = (at: number) => (address + at + bytes.readInt32LE(at)) >>> 0;
    for (let at = 0; at + 12 <= bytes.length; at += 12) {
      const from = target(at + 4) - strings.address;
      const name = strings.bytes.toString('latin1', from, strings.bytes.indexOf(0, from));
      yield [name, target(at)];
    }
  }
}

/**
 * kallsyms, as it lies in .rodata: offsets, base, count, names (length, tokens), markers (where each 256th name is), with newer ones
 * three bytes a name, tokens, where each token is. Found from the tokens of the ten digits, which stand in a row.
 */
function* functions(sections: readonly Section[]): Generator<readonly [string, number]> {
  const { bytes } = sections.find(({ name }) => name === '.rodata')!;
  const { tokens, token } = tokensOf(bytes);
  const align = (at: number) => (at + 3) & ~3;
  for (let at = tokens - 4; at > 0; at -= 4) {
    const count = bytes.readUInt32LE(at);
    if (count < 1000 || count > 0x100000) continue;
    const names = namesOf(bytes, at + 4, count);
    if (names === undefined) continue;
    const behind = align(align(names.end) + 4 * Math.ceil(count / 256));
    if (behind !== tokens && align(behind + 3 * count) !== tokens) continue;
    const base = bytes.readUInt32LE(at - 4);
    const offsets = at - 4 - 4 * count;
    for (const [i, name] of names.list.entries()) {
      const text = [...name].map((n) => token[n]).join('');
      // The first letter is nm's type.
      yield [text.slice(1), (base + bytes.readUInt32LE(offsets + 4 * i)) >>> 0];
    }
    return;
  }
}

function tokensOf(bytes: Buffer): { tokens: number; token: string[] } {
  const digits = Buffer.from('\0' + '0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0');
  for (let at = bytes.indexOf(digits); at >= 0; at = bytes.indexOf(digits, at + 1)) {
    // Where the tokens are begins with 0 and grows with each; token '0' is number 0x30.
    for (let index = (at + 3) & ~3; index < at + MAX_TOKENS_BYTES; index += 4) {
      const places = Array.from({ length: 256 }, (_, i) => bytes.readUInt16LE(index + 2 * i));
      if (places[0] !== 0 || places.some((place, i) => i > 0 && place <= places[i - 1]!)) continue;
      const tokens = at + 1 - places[0x30]!;
      const from = (i: number) => tokens + places[i]!;
      return {
        tokens,
        token: places.map((_, i) => bytes.toString('latin1', from(i), bytes.indexOf(0, from(i)))),
      };
    }
  }
  throw new Error('the kernel has no kallsyms');
}

/** Names as token numbers; undefined if these are none. */
function namesOf(bytes: Buffer, start: number, count: number): { end: number; list: Buffer[] } | undefined {
  const list: Buffer[] = [];
  let end = start;
  while (list.length < count) {
    const length = bytes[end] ?? 0;
    if (length === 0 || length > 127) return undefined;
    list.push(bytes.subarray(end + 1, end + 1 + length));
    end += 1 + length;
  }
  return { end, list };
}
