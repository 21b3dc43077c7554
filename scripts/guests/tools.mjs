// The host's build tools. Debian puts some of them in /usr/sbin, which is not on everybody's path.
import { execFileSync } from 'node:child_process';
import { Unavailable } from './packages.mjs';

/** 2023-11-14: files in images get this date, so that the same packages give the same images. */
export const EPOCH = 1_700_000_000;

const environment = {
  ...process.env,
  PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
  LC_ALL: 'C',
  TZ: 'UTC',
  SOURCE_DATE_EPOCH: String(EPOCH),
  MTOOLS_SKIP_CHECK: '1',
};

/** Runs a program; its error output is shown if it fails. Returns its output. */
export function run(program, args, options = {}) {
  try {
    return execFileSync(program, args, {
      env: environment,
      stdio: ['pipe', 'pipe', 'pipe'],
      maxBuffer: 1 << 28,
      ...options,
    });
  } catch (error) {
    if (error.code === 'ENOENT') throw new Unavailable(`${program} is not installed`);
    throw new Error(`${program} ${args.join(' ')}: ${error.stderr ?? error.message}`);
  }
}

/** Gives all files below `folder` the same date. */
export function setDates(folder) {
  run('find', [folder, '-exec', 'touch', '-h', '-d', `@${EPOCH}`, '{}', '+']);
}
