/**
 * The host's processor as an oracle: a small C program restores an FXSAVE image, runs one instruction and saves what came
 * of it. Only instructions that mean the same in 64-bit mode, with [edi] as the only address. x86-64 hosts with gcc only.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requireProgram } from './programs.ts';

/** FXSAVE image, 64 bytes of memory at [edi], EAX ECX EDX EFLAGS. */
export const CASE_BYTES = 512 + 64 + 16;
export const CASE_MEMORY = 512;
export const CASE_REGISTERS = 576;

const SOURCE = String.raw`
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
struct one { uint8_t image[512]; uint8_t memory[64]; uint32_t regs[4]; } __attribute__((aligned(64)));
void run(void *image, void *memory, void *regs, void *code);
__asm__(
  ".globl run\nrun:\n push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n"
  " mov %rdi,%r12\n mov %rsi,%r13\n mov %rdx,%r14\n mov %rcx,%rbx\n"
  " fxrstor (%r12)\n mov %r13,%rdi\n mov 12(%r14),%ebp\n push %rbp\n"
  " mov (%r14),%eax\n mov 4(%r14),%ecx\n mov 8(%r14),%edx\n popfq\n"
  " call *%rbx\n pushfq\n pop %rbp\n fxsave (%r12)\n"
  " mov %eax,(%r14)\n mov %ecx,4(%r14)\n mov %edx,8(%r14)\n mov %ebp,12(%r14)\n"
  " fninit\n movl $0x1f80,-8(%rsp)\n ldmxcsr -8(%rsp)\n cld\n"
  " pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");
int main(void) {
  uint8_t *code = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  static struct one c;
  uint32_t head[2];
  while (fread(head, 1, 8, stdin) == 8) {
    uint8_t bytes[64];
    if (fread(bytes, 1, 64, stdin) != 64) return 1;
    memcpy(code, bytes, head[0]);
    code[head[0]] = 0xc3;
    for (uint32_t i = 0; i < head[1]; i++) {
      if (fread(&c, 1, 592, stdin) != 592) return 1;
      run(c.image, c.memory, c.regs, code);
      if (fwrite(&c, 1, 592, stdout) != 592) return 1;
    }
  }
  return 0;
}
`;

export function hostCpuAvailable(): boolean {
  return process.arch === 'x64' && requireProgram('gcc');
}

export class HostCpu {
  readonly #folder = mkdtempSync(join(tmpdir(), 'ambervm-host-cpu-'));

  constructor() {
    writeFileSync(join(this.#folder, 'oracle.c'), SOURCE);
    const done = spawnSync('gcc', ['-O1', '-o', 'oracle', 'oracle.c'], {
      cwd: this.#folder,
      encoding: 'utf8',
    });
    if (done.status !== 0) throw new Error(`gcc: ${done.stderr}`);
  }

  /** Runs `code` on every case (CASE_BYTES each); returns the cases as they are afterwards. */
  run(code: Uint8Array, cases: Uint8Array): Uint8Array {
    const header = new Uint8Array(8 + 64);
    new Uint32Array(header.buffer, 0, 2).set([code.length, cases.length / CASE_BYTES]);
    header.set(code, 8);
    const input = Buffer.concat([header, cases]);
    const done = spawnSync(join(this.#folder, 'oracle'), [], { input, maxBuffer: 1 << 30 });
    if (done.status !== 0) throw new Error(`the oracle ended with ${done.signal ?? done.status}`);
    return done.stdout;
  }

  close(): void {
    rmSync(this.#folder, { recursive: true });
  }
}
