// Fetches and builds the guests that the tests boot:
//   node scripts/guests/build.mjs [--list] [name …]      prints the path of each; without names: all of them
// Exit code 3: the packages cannot be had here. Safe to run several times at once.
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CACHE, cached, readManifest, sha256, withLock, writeManifest } from './cache.mjs';
import { discs } from './discs.mjs';
import { linux } from './linux.mjs';
import { Unavailable } from './packages.mjs';

/** Name of a guest → what builds it: (path to write, scratch folder, path of another guest) → nothing. */
const recipes = { ...linux, ...discs };

/** Changes when any of these scripts does: everything is built anew then. */
const edition = (() => {
  const sum = createHash('sha256');
  for (const name of readdirSync(import.meta.dirname).sort()) {
    if (!statSync(join(import.meta.dirname, name)).isFile()) continue;
    sum.update(`${name}\0`).update(readFileSync(join(import.meta.dirname, name)));
  }
  return sum.digest('hex').slice(0, 16);
})();

function isBuilt(name) {
  const entry = readManifest().guests[name];
  const path = cached(name);
  return entry?.edition === edition && existsSync(path) && statSync(path).size === entry.bytes;
}

/** Path of a guest, built if need be. The lock is held. */
function build(name) {
  const recipe = recipes[name];
  if (recipe === undefined)
    throw new Error(`no guest '${name}'; there are: ${Object.keys(recipes).join(', ')}`);
  const path = cached(name);
  if (isBuilt(name)) return path;
  console.error(`building guest ${name}`);
  const work = mkdtempSync(join(CACHE, 'work-'));
  try {
    const output = join(work, name);
    recipe(output, work, build);
    const manifest = readManifest();
    manifest.guests[name] = { edition, bytes: statSync(output).size, sha256: sha256(output) };
    renameSync(output, path);
    writeManifest(manifest);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return path;
}

async function main() {
  const names = process.argv.slice(2).filter((word) => !word.startsWith('--'));
  if (process.argv.includes('--list')) {
    console.log(Object.keys(recipes).join('\n'));
    return;
  }
  const wanted = names.length > 0 ? names : Object.keys(recipes);
  try {
    if (wanted.every((name) => recipes[name] !== undefined && isBuilt(name))) {
      for (const name of wanted) console.log(cached(name));
    } else {
      await withLock(() => {
        for (const name of wanted) console.log(build(name));
      });
    }
  } catch (error) {
    console.error(error instanceof Unavailable ? `not available: ${error.message}` : error);
    process.exitCode = error instanceof Unavailable ? 3 : 1;
  }
}

await main();
