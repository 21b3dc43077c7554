// Where guests are kept: $AMBERVM_GUEST_CACHE, else .cache/guests of the checkout. Holds packages as downloaded
// (packages/), unpacked (unpacked/), built guests, and manifest.json with versions and SHA-256 sums of all of them.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const CACHE = process.env.AMBERVM_GUEST_CACHE ?? join(ROOT, '.cache/guests');
const MANIFEST = join(CACHE, 'manifest.json');
const LOCK = join(CACHE, 'lock');
/** How long to wait for another build, ms. */
const LOCK_TIMEOUT_MS = 15 * 60_000;

/** Path in the cache; its folder exists afterwards. */
export function cached(...parts) {
  const path = join(CACHE, ...parts);
  mkdirSync(join(path, '..'), { recursive: true });
  return path;
}

export function readManifest() {
  if (!existsSync(MANIFEST)) return { packages: {}, guests: {} };
  return JSON.parse(readFileSync(MANIFEST, 'utf8'));
}

export function writeManifest(manifest) {
  writeFileSync(`${MANIFEST}.new`, `${JSON.stringify(manifest, null, 2)}\n`);
  renameSync(`${MANIFEST}.new`, MANIFEST);
}

export function sha256(path) {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** Runs `action` while no other process builds. */
export async function withLock(action) {
  mkdirSync(CACHE, { recursive: true });
  const deadline = Date.now() + LOCK_TIMEOUT_MS;
  while (!takeLock()) {
    if (Date.now() > deadline) throw new Error(`${LOCK} is held by process ${readFileSync(LOCK, 'utf8')}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  try {
    return await action();
  } finally {
    rmSync(LOCK, { force: true });
  }
}

function takeLock() {
  try {
    writeFileSync(LOCK, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    removeDeadLock();
    return false;
  }
}

/** A lock whose process is gone was left by a build that was killed. */
function removeDeadLock() {
  try {
    // An empty file: its owner is between creating and writing it, unless that was long ago.
    const pid = Number(readFileSync(LOCK, 'utf8'));
    if (pid === 0 && Date.now() - statSync(LOCK).mtimeMs < 5000) return;
    if (pid !== 0) process.kill(pid, 0);
    else rmSync(LOCK, { force: true });
  } catch (error) {
    if (error.code === 'ESRCH') rmSync(LOCK, { force: true });
  }
}
