/**
 * The host's processor as an oracle for integer instructions: a small 32-bit program loads all general registers and the
 * flags, jumps to one instruction in a page of its own, and tells what came of it: registers, flags, 256 bytes of memory,
 * how the instruction was left (fell through, jumped, which exception). x86-64 Linux hosts with `gcc -m32` only.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requireProgram } from './programs.ts';

/** 256 bytes that memory operands and the stack lie in, across a page boundary. */
export const WINDOW = 0x00500f80;
export const WINDOW_BYTES = 256;
/** Base of the segment in FS (and, by request, DS and ES): {@link WINDOW} is at offset 0x8000 there. */
export const SEGMENT_BASE = WINDOW - 0x8000;
/** The instruction under test. */
export const CODE = 0x00600000;
/** Where jumps under test lead. */
export const LANDING = CODE + 0x40;

/** A case: EAX ECX EDX EBX ESP EBP ESI EDI, EFLAGS, how it ended, what to do, code length; 16 code bytes; the window. */
export const CASE_BYTES = 48 + 16 + WINDOW_BYTES;
export const CASE_FLAGS = 32;
/** Out: 0x100 fell through, 0x101 landed; else the number of the exception. */
export const CASE_END = 36;
/** In: 1: DS and ES are the segment at {@link SEGMENT_BASE}. */
export const CASE_OPTIONS = 40;
export const CASE_LENGTH = 44;
export const CASE_CODE = 48;
export const CASE_WINDOW = 64;

const SOURCE = String.raw`
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <unistd.h>
#include <asm/ldt.h>
struct one { uint32_t regs[8], flags, end, options, length; uint8_t code[16], window[256]; };
struct one cur;
uint32_t host_esp, sel, dsel, oldds, oldgs;
void run(void), back0(void), back1(void), back2(void);
__asm__(
  ".text\n.globl run\nrun: pusha\n pushf\n mov %esp,host_esp\n mov %ds,oldds\n"
  " mov sel,%eax\n mov %eax,%fs\n mov dsel,%eax\n mov %eax,%ds\n mov %eax,%es\n"
  " mov %ss:cur+16,%esp\n"
  " mov %ss:host_esp,%eax\n mov %ss:cur+32,%ebx\n mov %ebx,%ss:-4(%eax)\n"
  " mov %esp,%ecx\n lea -4(%eax),%esp\n popf\n mov %ecx,%esp\n"
  " mov %ss:cur,%eax\n mov %ss:cur+4,%ecx\n mov %ss:cur+8,%edx\n mov %ss:cur+12,%ebx\n"
  " mov %ss:cur+20,%ebp\n mov %ss:cur+24,%esi\n mov %ss:cur+28,%edi\n"
  " jmp 0x00600000\n"
  ".globl back1\nback1: movl $0x101,%ss:cur+36\n jmp 1f\n"
  ".globl back0\nback0: movl $0x100,%ss:cur+36\n"
  "1: mov %eax,%ss:cur\n mov %ecx,%ss:cur+4\n mov %edx,%ss:cur+8\n mov %ebx,%ss:cur+12\n"
  " mov %esp,%ss:cur+16\n mov %ebp,%ss:cur+20\n mov %esi,%ss:cur+24\n mov %edi,%ss:cur+28\n"
  " mov %ss:host_esp,%esp\n lea -64(%esp),%esp\n pushf\n popl %ss:cur+32\n"
  ".globl back2\nback2: mov %ss:host_esp,%esp\n mov %ss:oldds,%eax\n mov %eax,%ds\n mov %eax,%es\n cld\n"
  " popf\n popa\n ret\n");
static void handler(int sig, siginfo_t *info, void *context) {
  ucontext_t *u = context;
  greg_t *g = u->uc_mcontext.gregs;
  uint32_t r[8] = { g[REG_EAX], g[REG_ECX], g[REG_EDX], g[REG_EBX], g[REG_ESP], g[REG_EBP], g[REG_ESI], g[REG_EDI] };
  memcpy(cur.regs, r, 32);
  cur.flags = g[REG_EFL];
  cur.end = g[REG_TRAPNO];
  g[REG_EIP] = (uint32_t)back2;
  g[REG_EFL] = 0x202;
}
static uint8_t *map(uint32_t at, uint32_t n) {
  void *p = mmap((void *)at, n, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  return p == (void *)at ? p : 0;
}
static void jump(uint8_t *at, void (*to)(void)) {
  *at = 0xe9;
  *(uint32_t *)(at + 1) = (uint32_t)to - (uint32_t)(at + 5);
}
int main(void) {
  uint8_t *code = map(0x600000, 4096), *pages = map(0x500000, 8192), *stack = map(0x700000, 65536);
  if (!code || !pages || !stack) return 2;
  uint8_t *window = pages + 0xf80;
  struct user_desc d = { .entry_number = -1, .base_addr = 0x500f80 - 0x8000, .limit = 0xfffff, .seg_32bit = 1,
    .limit_in_pages = 1, .useable = 1 };
  if (syscall(SYS_set_thread_area, &d)) return 3;
  stack_t alt = { .ss_sp = stack, .ss_size = 65536 };
  sigaltstack(&alt, 0);
  struct sigaction a = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
  int signals[] = { SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS };
  for (int i = 0; i < 5; i++) sigaction(signals[i], &a, 0);
  uint32_t flat;
  __asm__("mov %%ds,%0" : "=r"(flat));
  sel = d.entry_number * 8 + 3;
  while (fread(&cur, 1, sizeof cur, stdin) == sizeof cur) {
    memcpy(code, cur.code, 16);
    jump(code + cur.length, back0);
    jump(code + 0x40, back1);
    memcpy(window, cur.window, 256);
    dsel = cur.options & 1 ? sel : flat;
    run();
    memcpy(cur.window, window, 256);
    if (fwrite(&cur, 1, sizeof cur, stdout) != sizeof cur) return 4;
  }
  return 0;
}
`;

/** An x86-64 host whose gcc makes 32-bit programs. */
export function hostIntegerAvailable(): boolean {
  return process.arch === 'x64' && process.platform === 'linux' && requireProgram('gcc');
}

export class HostInteger {
  readonly #folder = mkdtempSync(join(tmpdir(), 'ambervm-host-integer-'));

  constructor() {
    writeFileSync(join(this.#folder, 'oracle.c'), SOURCE);
    const done = spawnSync('gcc', ['-m32', '-static', '-no-pie', '-O1', '-o', 'oracle', 'oracle.c'], {
      cwd: this.#folder,
      encoding: 'utf8',
    });
    if (done.status !== 0) throw new Error(`gcc -m32: ${done.stderr}`);
  }

  /** Runs the cases (CASE_BYTES each); returns them as they are afterwards. */
  run(cases: Uint8Array): Uint8Array {
    const done = spawnSync(join(this.#folder, 'oracle'), [], { input: cases, maxBuffer: 1 << 30 });
    if (done.status !== 0) throw new Error(`the oracle ended with ${done.signal ?? done.status}`);
    return done.stdout;
  }

  close(): void {
    rmSync(this.#folder, { recursive: true });
  }
}
