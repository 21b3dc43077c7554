/** Command line of `npm run bench`. */
import { parseArgs } from 'node:util';

export const SECTIONS = ['mips', 'boot', 'snapshot', 'cpu'] as const;
export type Section = (typeof SECTIONS)[number];

export const HELP = `npm run bench -- [SECTION...] [OPTION...]

Sections (default: all):
  mips       bare CPU on five small programs, interpreter and JIT
  boot       Debian's 686 kernel and the bench initramfs to /init
  snapshot   savevm, loadvm and -loadvm of a guest whose RAM is full of random words
  cpu        30 micro tests inside that Linux

Options:
  --only=a,b         these micro tests (cpu) or programs (mips)
  --emulators=a,b    of ours, qemu, v86; default all
  --mem=64,256,512   RAM sizes of the snapshot section, MiB
  --cache=MODE       cache mode of the snapshot section's disk; default writeback
  --plots            SVG of save and load time over RAM size and over the share of RAM written
                     (with --mem=64,128,256,512,1024,2048 for the range)
  --large            snapshot section also with a 2 TiB image and a chain of 300 (minutes, for QEMU's sake)
  --ledger=FILE      keeps each measurement of the snapshot section in FILE and takes what is there from it
  --limit=SECONDS    with --ledger: begins no measurement after that time; run it again to go on
  --reps=N           repetitions, medians are shown; default 3
  --quick            one repetition, short tests, snapshots at 64 MiB
  --ours=COMMAND     what to measure as ours; default: node bin/ambervm.js
  --node-args=ARGS   for the measured Node, with the default command (for example --cpu-prof)
  --out=DIR          where latest.md and latest.json go; default bench/results
  --no-build         take dist/ as it is
  --keep             keep the work folder
  -v                 show the serial lines of the guests
`;

export interface BenchOptions {
  readonly sections: readonly Section[];
  readonly only: readonly string[];
  readonly emulators: readonly string[];
  readonly memMiB: readonly number[];
  readonly cache: string;
  readonly plots: boolean;
  readonly large: boolean;
  readonly ledger: string | undefined;
  readonly limitSeconds: number;
  readonly reps: number;
  readonly quick: boolean;
  readonly ours: string | undefined;
  readonly nodeArgs: readonly string[];
  readonly out: string | undefined;
  readonly build: boolean;
  readonly keep: boolean;
  readonly verbose: boolean;
}

/** Undefined: help was asked for. */
export function parseOptions(argv: readonly string[]): BenchOptions | undefined {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      only: { type: 'string', default: '' },
      emulators: { type: 'string', default: 'ours,qemu,v86' },
      mem: { type: 'string' },
      cache: { type: 'string', default: 'writeback' },
      plots: { type: 'boolean', default: false },
      large: { type: 'boolean', default: false },
      ledger: { type: 'string' },
      limit: { type: 'string' },
      reps: { type: 'string' },
      quick: { type: 'boolean', default: false },
      ours: { type: 'string' },
      'node-args': { type: 'string', default: '' },
      out: { type: 'string' },
      'no-build': { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      verbose: { type: 'boolean', short: 'v', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return undefined;
  for (const name of positionals) {
    if (!(SECTIONS as readonly string[]).includes(name)) throw new Error(`unknown section '${name}'`);
  }
  const reps = Number(values.reps ?? (values.quick ? 1 : 3));
  if (!(reps >= 1)) throw new Error(`--reps=${values.reps}: expected a number from 1 on`);
  return {
    sections: positionals.length === 0 ? SECTIONS : SECTIONS.filter((name) => positionals.includes(name)),
    only: words(values.only),
    emulators: words(values.emulators),
    memMiB: words(values.mem ?? (values.quick ? '64' : '64,256,512')).map(Number),
    cache: values.cache,
    plots: values.plots,
    large: values.large,
    ledger: values.ledger,
    limitSeconds: values.limit === undefined ? Number.POSITIVE_INFINITY : Number(values.limit),
    reps,
    quick: values.quick,
    ours: values.ours,
    nodeArgs: values['node-args'].split(' ').filter((word) => word !== ''),
    out: values.out,
    build: !values['no-build'],
    keep: values.keep,
    verbose: values.verbose,
  };
}

function words(text: string): string[] {
  return text.split(',').filter((word) => word !== '');
}
