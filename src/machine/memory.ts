/**
 * Guest-physical memory: RAM, ROM and MMIO below 4 GiB, and who may be reached without asking.
 *
 * All bytes lie in one WebAssembly.Memory, created once at its final size. `pageMap` says for each physical page where it
 * lies and what may be done directly; `guard` says for each page of the WebAssembly.Memory who wants to hear of writes.
 * Fast paths (generated code, TLBs) only ever write to pages whose guard is 0.
 */
import type { WasmMemory } from './wasm-types.ts';
import type { AddressSpace, DmaMemory, IoRegion } from './device.ts';

export const PAGE_BYTES = 4096;
const PHYSICAL_PAGES = 1 << 20;

/** Flags in the low bits of a pageMap entry; the rest is the page's address in the WebAssembly.Memory. */
export const PAGE_READ = 1;
export const PAGE_WRITE = 2;
/** Handled by an IoRegion (or by nobody: reads all-ones). */
export const PAGE_MMIO = 4;
/** Reads come from the mapped page, writes go to RAM behind it (PAM "read ROM, write RAM"). */
export const PAGE_SHADOW_WRITE = 8;

/** Bits of `guard`. */
export const GUARD_SNAPSHOT = 1;
export const GUARD_DISPLAY = 2;
export const GUARD_CODE = 4;
/** The page's bytes are still in a snapshot (lazy loadvm): whoever wants to read or write them has them fetched first. */
export const GUARD_ABSENT = 8;
/** A guard is less than this. */
export const GUARD_VALUES = 16;

/** How a legacy area (C0000–FFFFF) is routed by the host bridge's PAM registers. */
export const PAM_ROM = 0;
export const PAM_READ_RAM = 1;
export const PAM_WRITE_RAM = 2;
export const PAM_RAM = 3;

interface Overlay {
  readonly base: number;
  readonly size: number;
  readonly region: IoRegion | undefined;
  /** Direct memory behind it, or -1. */
  readonly address: number;
  readonly writable: boolean;
}

/** A window of ROM at a fixed physical address. */
interface RomWindow {
  readonly base: number;
  readonly size: number;
  readonly address: number;
}

export class PhysicalMemory implements AddressSpace, DmaMemory {
  readonly memory: WasmMemory;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly i32: Int32Array;
  readonly view: DataView;
  readonly pageMap = new Int32Array(PHYSICAL_PAGES);
  readonly guard: Uint8Array;
  readonly ramAddress: number;
  readonly ramBytes: number;
  /** Called when translations that generated code may hold are no longer right. */
  onMapChange: () => void = () => {};
  /** Called before bytes change in a page that holds decoded code (address in the WebAssembly.Memory). */
  onCodeWrite: (address: number, bytes: number) => void = () => {};

  /** Brings an absent page in, by its number in the WebAssembly.Memory, or throws. */
  onAbsent: (page: number) => void = () => {};
  /** Called before a page changes for the first time since the last snapshot, or since the instant of one being made. */
  onFirstWrite: ((page: number) => void) | undefined;

  readonly #overlays: Overlay[] = [];
  readonly #roms: RomWindow[] = [];
  readonly #pam = new Uint8Array(64).fill(PAM_ROM);

  /** `ramAddress`, `ramBytes`: where guest RAM lies in `memory`; multiples of 4096, at most 3.5 GiB. */
  constructor(memory: WasmMemory, ramAddress: number, ramBytes: number) {
    this.memory = memory;
    this.u8 = new Uint8Array(memory.buffer);
    this.u16 = new Uint16Array(memory.buffer);
    this.i32 = new Int32Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.guard = new Uint8Array(memory.buffer.byteLength / PAGE_BYTES);
    this.ramAddress = ramAddress;
    this.ramBytes = ramBytes;
    this.#resolveRange(0, PHYSICAL_PAGES);
  }

  // ---- mapping

  /** Maps an I/O region. Later mappings lie over earlier ones. */
  map(base: number, region: IoRegion): void {
    this.#add({ base, size: region.size, region, address: -1, writable: false });
  }

  unmap(region: IoRegion): void {
    for (let i = this.#overlays.length - 1; i >= 0; i--) {
      const overlay = this.#overlays[i]!;
      if (overlay.region !== region) continue;
      this.#overlays.splice(i, 1);
      this.#changed(overlay.base, overlay.size);
    }
  }

  /** Maps memory that can be read (and written) directly, under the identity of `region` (a framebuffer BAR). */
  mapDirect(base: number, region: IoRegion, address: number, size: number, writable: boolean): void {
    this.#add({ base, size, region, address, writable });
  }

  /** A ROM that lies beneath everything else. */
  addRom(base: number, address: number, size: number): void {
    this.#roms.push({ base, size, address });
    this.#changed(base, size);
  }

  /** Routes one 4 KiB-granular legacy range by PAM mode (0–3). */
  setPam(base: number, size: number, mode: number): void {
    const first = (base - 0xc0000) / PAGE_BYTES;
    const count = size / PAGE_BYTES;
    let changed = false;
    for (let i = first; i < first + count; i++) {
      if (this.#pam[i] !== mode) changed = true;
      this.#pam[i] = mode;
    }
    if (changed) this.#changed(base, size);
  }

  /** What is mapped, for `info mtree`. */
  overlays(): readonly { readonly base: number; readonly size: number; readonly name: string }[] {
    return this.#overlays.map((o) => ({ base: o.base, size: o.size, name: o.region?.name ?? 'ram' }));
  }

  #add(overlay: Overlay): void {
    this.#overlays.push(overlay);
    this.#changed(overlay.base, overlay.size);
  }

  #changed(base: number, size: number): void {
    const first = Math.floor(base / PAGE_BYTES);
    const end = Math.min(PHYSICAL_PAGES, Math.ceil((base + size) / PAGE_BYTES));
    this.#resolveRange(first, end);
    this.onMapChange();
  }

  #resolveRange(first: number, end: number): void {
    const ramPages = this.ramBytes / PAGE_BYTES;
    const map = this.pageMap;
    map.fill(PAGE_MMIO, first, end);
    for (let page = first; page < Math.min(end, ramPages); page++) {
      map[page] = (this.ramAddress + page * PAGE_BYTES) | PAGE_READ | PAGE_WRITE;
    }
    for (const rom of this.#roms) this.#resolveRom(rom, first, end);
    for (const overlay of this.#overlays) this.#resolveOverlay(overlay, first, end);
  }

  #resolveRom(rom: RomWindow, first: number, end: number): void {
    const romFirst = rom.base / PAGE_BYTES;
    const from = Math.max(first, romFirst);
    const to = Math.min(end, romFirst + rom.size / PAGE_BYTES);
    for (let page = from; page < to; page++) {
      const address = rom.address + (page - romFirst) * PAGE_BYTES;
      const legacy = page >= 0xc0 && page < 0x100;
      const pam = legacy ? this.#pam[page - 0xc0]! : PAM_ROM;
      if (pam === PAM_ROM) this.pageMap[page] = address | PAGE_READ;
      else if (pam === PAM_WRITE_RAM) this.pageMap[page] = address | PAGE_READ | PAGE_SHADOW_WRITE;
      else if (pam === PAM_READ_RAM) {
        this.pageMap[page] = (this.ramAddress + page * PAGE_BYTES) | PAGE_READ;
      }
    }
  }

  #resolveOverlay(overlay: Overlay, first: number, end: number): void {
    const overlayFirst = Math.floor(overlay.base / PAGE_BYTES);
    const from = Math.max(first, overlayFirst);
    const to = Math.min(end, Math.ceil((overlay.base + overlay.size) / PAGE_BYTES));
    for (let page = from; page < to; page++) {
      this.pageMap[page] =
        overlay.address < 0
          ? PAGE_MMIO
          : (overlay.address + (page - overlayFirst) * PAGE_BYTES) |
            PAGE_READ |
            (overlay.writable ? PAGE_WRITE : 0);
    }
  }

  #regionAt(address: number): Overlay | undefined {
    for (let i = this.#overlays.length - 1; i >= 0; i--) {
      const overlay = this.#overlays[i]!;
      if (address >= overlay.base && address < overlay.base + overlay.size) return overlay;
    }
    return undefined;
  }

  // ---- writes that somebody wants to hear of

  /** To be called before `bytes` bytes at `address` (in the WebAssembly.Memory, within one page) change. */
  noteWrite(address: number, bytes: number): void {
    const page = address >>> 12;
    const guard = this.guard[page]!;
    if (guard === 0) return;
    if ((guard & GUARD_ABSENT) !== 0) this.onAbsent(page);
    if ((guard & GUARD_SNAPSHOT) !== 0) this.onFirstWrite?.(page);
    if ((guard & GUARD_CODE) !== 0) this.onCodeWrite(address, bytes);
    this.guard[page] = this.guard[page]! & GUARD_CODE;
  }

  /** To be called before bytes of a page (address in the WebAssembly.Memory) are read other than by the methods below. */
  ensurePresent(address: number): void {
    if ((this.guard[address >>> 12]! & GUARD_ABSENT) !== 0) this.onAbsent(address >>> 12);
  }

  /** Where in the WebAssembly.Memory a directly readable address lies; its page is present then. */
  #readable(entry: number, address: number): number {
    const at = ((entry & ~0xfff) >>> 0) + (address & 0xfff);
    if ((this.guard[at >>> 12]! & GUARD_ABSENT) !== 0) this.onAbsent(at >>> 12);
    return at;
  }

  // ---- physical accesses (slow paths, page walks, DMA). `address` is unsigned 32-bit.

  read8(address: number): number {
    const entry = this.pageMap[address >>> 12]!;
    if ((entry & PAGE_READ) !== 0) return this.u8[this.#readable(entry, address)]!;
    return this.#mmioRead(address, 1);
  }
  /** Unsigned. Must not cross a page. */
  read16(address: number): number {
    const entry = this.pageMap[address >>> 12]!;
    if ((entry & PAGE_READ) !== 0) return this.view.getUint16(this.#readable(entry, address), true);
    return this.#mmioRead(address, 2);
  }
  /** Signed. Must not cross a page. */
  read32(address: number): number {
    const entry = this.pageMap[address >>> 12]!;
    if ((entry & PAGE_READ) !== 0) return this.view.getInt32(this.#readable(entry, address), true);
    return this.#mmioRead(address, 4) | 0;
  }
  write8(address: number, value: number): void {
    const at = this.#writable(address, 1);
    if (at >= 0) this.u8[at] = value;
    else this.#mmioWrite(address, 1, value & 0xff);
  }
  write16(address: number, value: number): void {
    const at = this.#writable(address, 2);
    if (at >= 0) this.view.setUint16(at, value, true);
    else this.#mmioWrite(address, 2, value & 0xffff);
  }
  write32(address: number, value: number): void {
    const at = this.#writable(address, 4);
    if (at >= 0) this.view.setInt32(at, value, true);
    else this.#mmioWrite(address, 4, value >>> 0);
  }

  /** Where a write of `bytes` bytes may go directly, guards told; -1: MMIO or dropped. */
  #writable(address: number, bytes: number): number {
    const entry = this.pageMap[address >>> 12]!;
    let at: number;
    if ((entry & PAGE_WRITE) !== 0) at = ((entry & ~0xfff) >>> 0) + (address & 0xfff);
    else if ((entry & PAGE_SHADOW_WRITE) !== 0) at = this.ramAddress + address;
    else return -1;
    this.noteWrite(at, bytes);
    return at;
  }

  #mmioRead(address: number, bytes: number): number {
    const overlay = this.#regionAt(address);
    if (overlay?.region === undefined) return bytes === 4 ? 0xffffffff : bytes === 2 ? 0xffff : 0xff;
    return readRegion(overlay.region, address - overlay.base, bytes);
  }
  #mmioWrite(address: number, bytes: number, value: number): void {
    if ((this.pageMap[address >>> 12]! & PAGE_MMIO) === 0) return; // ROM
    const overlay = this.#regionAt(address);
    if (overlay?.region !== undefined) writeRegion(overlay.region, address - overlay.base, bytes, value);
  }

  /** DMA read; any length, any address. */
  read(address: number, target: Uint8Array): void {
    let done = 0;
    while (done < target.length) {
      const at = address + done;
      const part = Math.min(target.length - done, PAGE_BYTES - (at & 0xfff));
      const entry = at < 0x100000000 ? this.pageMap[Math.floor(at / PAGE_BYTES)]! : 0;
      if ((entry & PAGE_READ) !== 0) {
        const from = this.#readable(entry, at);
        target.set(this.u8.subarray(from, from + part), done);
      } else if (entry === PAGE_MMIO) {
        for (let i = 0; i < part; i++) target[done + i] = this.#mmioRead(at + i, 1);
      } else target.fill(0xff, done, done + part);
      done += part;
    }
  }

  /** DMA write; any length, any address. */
  write(address: number, source: Uint8Array): void {
    let done = 0;
    while (done < source.length) {
      const at = address + done;
      const part = Math.min(source.length - done, PAGE_BYTES - (at & 0xfff));
      if (at < 0x100000000) {
        const to = this.#writable(at, part);
        if (to >= 0) this.u8.set(source.subarray(done, done + part), to);
        else for (let i = 0; i < part; i++) this.#mmioWrite(at + i, 1, source[done + i]!);
      }
      done += part;
    }
  }
}

/** An access of 1, 2 or 4 bytes to a region; wider than its handlers: split, little-endian. Unsigned. */
export function readRegion(region: IoRegion, offset: number, bytes: number): number {
  if (bytes === 1) {
    if (region.read8 !== undefined) return region.read8(offset);
    if (region.read32 !== undefined) return (region.read32(offset & ~3) >>> ((offset & 3) * 8)) & 0xff;
    if (region.read16 !== undefined) return (region.read16(offset & ~1) >>> ((offset & 1) * 8)) & 0xff;
    return 0xff;
  }
  if (bytes === 2) {
    if (region.read16 !== undefined) return region.read16(offset);
    if (region.read8 !== undefined) return region.read8(offset) | (byteBeyond(region, offset + 1) << 8);
    if (region.read32 !== undefined) return (region.read32(offset & ~3) >>> ((offset & 2) * 8)) & 0xffff;
    return 0xffff;
  }
  if (region.read32 !== undefined) return region.read32(offset) >>> 0;
  if (offset + 2 >= region.size) return (readRegion(region, offset, 2) | 0xffff0000) >>> 0;
  return (readRegion(region, offset, 2) | (readRegion(region, offset + 2, 2) << 16)) >>> 0;
}

function byteBeyond(region: IoRegion, offset: number): number {
  return offset < region.size ? region.read8!(offset) : 0xff;
}

export function writeRegion(region: IoRegion, offset: number, bytes: number, value: number): void {
  if (bytes === 1) {
    region.write8?.(offset, value);
    return;
  }
  if (bytes === 2) {
    if (region.write16 !== undefined) region.write16(offset, value);
    else if (region.write8 !== undefined) {
      region.write8(offset, value & 0xff);
      if (offset + 1 < region.size) region.write8(offset + 1, value >>> 8);
    }
    return;
  }
  if (region.write32 !== undefined) region.write32(offset, value);
  else {
    writeRegion(region, offset, 2, value & 0xffff);
    if (offset + 2 < region.size) writeRegion(region, offset + 2, 2, value >>> 16);
  }
}
