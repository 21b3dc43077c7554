/** Guest RAM as migration sees it: named blocks, and where pages go when a stream is read. */

/** One RAM or ROM block, by QEMU's name (`pc.ram`, `0000:00:02.0/vga.vram`, `pc.bios`, …). */
export interface RamBlock {
  readonly name: string;
  /** A multiple of 4096. */
  readonly sizeBytes: number;
  /** The block's bytes: a view into the machine's one WebAssembly.Memory, 4 KiB-aligned, `sizeBytes` long. */
  readonly bytes: Uint8Array;
}

/** Takes pages off a stream, in any order, a page perhaps more than once: the last one counts. */
export interface RamSink {
  /** 4096 bytes for block `block` at `offset`: `source[at … at + 4096)`, valid only during the call. */
  page(block: number, offset: number, source: Uint8Array, at: number): void;
  /** 4096 bytes of `value`, nearly always 0. */
  fill(block: number, offset: number, value: number): void;
}
