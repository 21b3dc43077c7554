// The CPU with flat RAM and nothing around it, with or without the JIT: millions of instructions per CPU second of one program.
// Plain JavaScript on the built package, so that what is measured is what is shipped.
//   node measure.mjs DIST PROGRAM INSTRUCTIONS interpreter|jit
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [dist, program, instructions, tier] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(`${dist}/machine/${path}`));
const { Cpu } = await load('cpu/cpu.js');
const { PhysicalMemory } = await load('memory.js');
const L = await load('cpu/layout.js');
const { updateAll } = await load('cpu/mode.js');

const RAM_BYTES = 160 << 20;
/** Where the programs are linked to; see guest/link.ld. */
const ORIGIN = 0x0804_8000;
const STACK = 0x0850_0000;
const WARM_UP = 20e6;
const SLICE = 1e6;

const bus = {
  portRead8: () => 0xff,
  portRead16: () => 0xffff,
  portRead32: () => 0xffffffff,
  portWrite8: () => {},
  portWrite16: () => {},
  portWrite32: () => {},
  apicBase: () => 0xfee00900,
  setApicBase: () => {},
  tsc: () => 0,
};
const pages = (L.RECORDS_END + RAM_BYTES) / 65536;
const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
const cpu = new Cpu(new PhysicalMemory(memory, L.RECORDS_END, RAM_BYTES), bus);

// Flat 32-bit protected mode, without tables: nothing reloads a segment register.
cpu.reset();
cpu.u8.set(readFileSync(program), cpu.mem.ramAddress + ORIGIN);
cpu.set(L.CR0, 0x11);
for (let segment = 0; segment < 6; segment++) {
  const at = cpu.segAddress(segment);
  const isCode = segment === 1;
  cpu.set(at + L.SEG_SELECTOR, isCode ? 8 : 16);
  cpu.set(at + L.SEG_BASE, 0);
  cpu.set(at + L.SEG_LIMIT, -1);
  cpu.set(at + L.SEG_FLAGS, isCode ? 0x00cf9b00 : 0x00cf9300);
}
cpu.set(L.CPL, 0);
updateAll(cpu);
cpu.setReg32(4, STACK);
cpu.set(L.EIP, ORIGIN);

cpu.jit.enabled = tier === 'jit';
cpu.run(WARM_UP);
const before = process.cpuUsage();
const first = cpu.instructions;
while (cpu.instructions - first < Number(instructions) && !cpu.tripleFault) cpu.run(SLICE);
const used = process.cpuUsage(before);
const done = cpu.instructions - first;
console.log(JSON.stringify({ instructions: done, mips: done / (used.user + used.system) }));
