/** Steps that `npm start` and `npm test` share. Plain Node: nothing is installed yet when this runs. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

export function say(message) {
  process.stderr.write(`${message}\n`);
}

/** Runs a command in the checkout; returns its exit code. */
export function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', ...options });
  if (error !== undefined) say(`${command}: ${error.message}`);
  return status ?? 1;
}

/** Runs a command and ends the process if it fails. */
export function must(command, args, options = {}) {
  const code = run(command, args, options);
  if (code !== 0) {
    say(`failed: ${command} ${args.join(' ')}`);
    process.exit(code);
  }
}

function modified(path) {
  return existsSync(path) ? statSync(path).mtimeMs : 0;
}

/** `npm ci`, unless node_modules is newer than the lock file. */
export function installIfNeeded() {
  const installed = modified(join(ROOT, 'node_modules/.package-lock.json'));
  if (
    installed >= modified(join(ROOT, 'package-lock.json')) &&
    existsSync(join(ROOT, 'node_modules/typescript'))
  )
    return;
  say('installing packages …');
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  // A registry that lacks other platforms' optional packages makes npm ci refuse the lock file.
  if (run('npm', ['ci', ...quiet]) !== 0) must('npm', ['install', '--no-save', ...quiet]);
}

function newestIn(folder) {
  let newest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) newest = Math.max(newest, newestIn(path));
    else if (entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts')) {
      newest = Math.max(newest, modified(path));
    }
  }
  return newest;
}

/** `npm run build`, unless dist is newer than every source. */
export function buildIfNeeded() {
  const isThere = existsSync(join(ROOT, 'dist/cli/main.js'));
  const built = isThere ? modified(join(ROOT, 'dist/.tsbuildinfo')) : 0;
  const steps = ['tsconfig.build.json', 'scripts/build-interpreter.mjs', 'scripts/build-program.mjs'].map(
    (name) => modified(join(ROOT, name)),
  );
  if (built > Math.max(newestIn(join(ROOT, 'src')), ...steps)) return;
  say('building …');
  must('npm', ['run', '--silent', 'build']);
}
