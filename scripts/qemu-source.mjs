/**
 * The tests that QEMU 7.2 carries for its i386 target and its floating point (Berkeley TestFloat), and its QMP client in
 * Python, from Debian's source
 * package: fetched into .cache, never committed. AMBERVM_QEMU_SOURCE names an unpacked source to use instead.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, say } from './prepare.mjs';

/** The parts that are kept. */
const PARTS = ['tests/tcg/i386', 'tests/fp', 'python/qemu/qmp'];
const FOLDER = join(ROOT, '.cache/qemu-source');

/** Source lines for the archives that this machine installs from. */
function sourceLines() {
  const format = '$(REPO_URI) $(RELEASE)';
  const { stdout = '' } = spawnSync('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'], {
    encoding: 'utf8',
  });
  const archives = new Set(stdout.split('\n').filter((line) => line !== ''));
  return [...archives].map((line) => `deb-src ${line} main\n`).join('');
}

function quietly(command, args, cwd) {
  return spawnSync(command, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'] }).status === 0;
}

/** Where the archives have no sources the tests that want them are skipped by name. */
export function fetchQemuSource() {
  const isThere = PARTS.every((part) => existsSync(join(FOLDER, part)));
  if (process.env.AMBERVM_QEMU_SOURCE !== undefined || isThere) return;
  mkdirSync(join(ROOT, '.cache'), { recursive: true });
  const work = mkdtempSync(join(ROOT, '.cache/qemu-fetch-'));
  try {
    mkdirSync(join(work, 'lists/partial'), { recursive: true });
    writeFileSync(join(work, 'sources.list'), sourceLines());
    const places = ['sourcelist=sources.list', 'sourceparts=-'].map((place) => `Dir::Etc::${place}`);
    const options = [...places, 'Dir::State::lists=lists'].flatMap((option) => [
      '-o',
      option.replace(/=(\w.*)$/, (_all, name) => `=${join(work, name)}`),
    ]);
    const unpacked = join(work, 'unpacked');
    mkdirSync(unpacked);
    const isFetched =
      quietly('apt-get', ['-q', ...options, 'update'], work) &&
      quietly('apt-get', ['-q', ...options, 'source', '--download-only', 'qemu'], work);
    const archive = isFetched && readdirSync(work).find((name) => /\.orig\.tar\.\w+$/.test(name));
    const wanted = PARTS.map((part) => `*/${part}/*`);
    const flags = ['--strip-components=1', '--wildcards', '-C', unpacked];
    if (archive && quietly('tar', ['-xf', archive, ...flags, ...wanted], work)) {
      rmSync(FOLDER, { recursive: true, force: true });
      renameSync(unpacked, FOLDER);
    } else say("QEMU's source cannot be fetched here: its own tests are skipped by name");
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
