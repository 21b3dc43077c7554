/**
 * `npm test`: installs what is missing, builds, lints, runs all tests. On Debian as root the reference programs are
 * installed, too (QEMU, SeaBIOS, guests' tools); elsewhere the tests that need them are skipped by name.
 * Arguments are passed on to vitest. The last line is `N passed, N failed, N skipped`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildIfNeeded, installIfNeeded, ROOT, run, say } from './prepare.mjs';
import { fetchQemuSource } from './qemu-source.mjs';

const DEBIAN_PACKAGES = [
  ...['qemu-system-x86', 'qemu-utils', 'seabios', 'nasm', 'xorriso', 'grub-common', 'grub-pc-bin'],
  ...['syslinux', 'isolinux', 'syslinux-common', 'dosfstools', 'mtools', 'cpio', 'kmod', 'binutils'],
  ...['e2fsprogs', 'gcc', 'gcc-multilib', 'make', 'gdb', 'bochs', 'acpica-tools', 'chromium'],
  ...['zsh', 'fish'],
  ...['gvncviewer', 'vncsnapshot', 'libjpeg-turbo-progs'],
];

function isRootOnDebian() {
  return process.getuid?.() === 0 && existsSync('/etc/debian_version') && existsSync('/usr/bin/apt-get');
}

function missingPackages() {
  const { stdout = '' } = spawnSync('dpkg-query', ['-W', `-f=\${Package} \${db:Status-Status}\n`], {
    encoding: 'utf8',
    maxBuffer: 16 * 1024 * 1024,
  });
  const installed = new Set(
    stdout.split('\n').flatMap((line) => (line.endsWith(' installed') ? [line.split(' ')[0]] : [])),
  );
  return DEBIAN_PACKAGES.filter((name) => !installed.has(name));
}

/** A failure is no reason to stop: tests say by name what they lack. */
function installReferencePrograms() {
  if (process.env.AMBERVM_NO_APT !== undefined || !isRootOnDebian()) return;
  const foreign = spawnSync('dpkg', ['--print-foreign-architectures'], { encoding: 'utf8' }).stdout ?? '';
  const native = spawnSync('dpkg', ['--print-architecture'], { encoding: 'utf8' }).stdout ?? '';
  const needsI386 = native.trim() === 'amd64' && !foreign.split('\n').includes('i386');
  const missing = missingPackages();
  if (missing.length === 0 && !needsI386) return;
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  // Guests are made of 32-bit kernel packages.
  if (needsI386) run('dpkg', ['--add-architecture', 'i386']);
  run('apt-get', ['-q', 'update'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  if (missing.length === 0) return;
  say(`installing ${missing.join(' ')} …`);
  const quiet = { env, stdio: ['ignore', 'ignore', 'inherit'] };
  const install = (names) => run('apt-get', ['-qy', 'install', '--no-install-recommends', ...names], quiet);
  // One package that a release lacks must not keep the others away.
  if (install(missing) !== 0) for (const name of missing) install([name]);
}

/** Runs vitest with its usual output, and counts from its report. */
function runTests(args) {
  const folder = mkdtempSync(join(tmpdir(), 'ambervm-test-'));
  const report = join(folder, 'report.json');
  const code = run(process.execPath, [
    join(ROOT, 'node_modules/vitest/vitest.mjs'),
    ...['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
    ...args,
  ]);
  let counts = { passed: 0, failed: 1, skipped: 0 };
  try {
    const result = JSON.parse(readFileSync(report, 'utf8'));
    const broken = result.testResults.filter(
      ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
    ).length;
    counts = {
      passed: result.numPassedTests,
      failed: result.numFailedTests + broken,
      skipped: result.numPendingTests + (result.numTodoTests ?? 0),
    };
  } catch {
    say('vitest wrote no report');
  }
  rmSync(folder, { recursive: true, force: true });
  return { code, counts };
}

const args = process.argv.slice(2);
installIfNeeded();
installReferencePrograms();
if (process.env.AMBERVM_NO_APT === undefined && isRootOnDebian()) fetchQemuSource();
buildIfNeeded();
const lint = run(process.execPath, [join(ROOT, 'node_modules/@biomejs/biome/bin/biome'), 'check']);
const types = run(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '--noEmit', '-p', '.']);
const { code, counts } = runTests(args);
const other = (lint === 0 ? 0 : 1) + (types === 0 ? 0 : 1);
if (lint !== 0) say('lint: failed');
if (types !== 0) say('types: failed');
process.stdout.write(
  `\n${counts.passed} passed, ${counts.failed + other} failed, ${counts.skipped} skipped\n`,
);
process.exit(code !== 0 || other > 0 || counts.failed > 0 ? 1 : 0);
