/** The micro tests of guest/bench32.c, by group. Units are those that the program prints. */

export interface Group {
  readonly title: string;
  readonly tests: readonly string[];
}

export const GROUPS: readonly Group[] = [
  {
    title: 'scalar integer',
    tests: [
      ...['sieve8k', 'crc32_64k', 'matmul64', 'fib20', 'interp', 'qsort4k', 'mul64', 'div', 'chase4M'],
      ...['sha256c', 'strops'],
    ],
  },
  { title: 'memory', tests: ['repmovsd1M', 'repstosd1M', 'memcpy_c32', 'memcpy_sse'] },
  {
    title: 'floating point and SSE',
    tests: ['sse_int', 'nbody_x87', 'nbody_sse', 'mandel_x87', 'mandel_sse', 'dgemm_x87', 'dgemm_sse'],
  },
  { title: 'operating system', tests: ['syscall', 'pagefault64', 'fork', 'exec', 'pipepp', 'smc'] },
  { title: 'port I/O', tests: ['outb80', 'inb61'] },
];
