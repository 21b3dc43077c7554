// Debian packages without installing them: `apt-get download` (apt checks signatures and sums), then dpkg-deb -x.
// Where apt does not know the i386 architecture, package lists of our own are kept in the cache; no root is needed.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CACHE, cached, readManifest, sha256, writeManifest } from './cache.mjs';

/** The packages cannot be had here: no apt, no network, and nothing cached. */
export class Unavailable extends Error {}

/** Folder with the files of a package (`name` or `name:arch`). */
export function unpacked(spec) {
  const entry = downloaded(spec);
  const folder = cached('unpacked', entry.file.replace(/\.deb$/, ''));
  if (!existsSync(folder)) {
    const work = `${folder}.new`;
    rmSync(work, { recursive: true, force: true });
    mkdirSync(work, { recursive: true });
    execFileSync('dpkg-deb', ['-x', cached('packages', entry.file), work]);
    renameSync(work, folder);
  }
  return folder;
}

/** Version, file name and sum of a package in the cache; downloads it if need be. */
function downloaded(spec) {
  const manifest = readManifest();
  const known = manifest.packages[spec];
  if (known !== undefined) {
    const path = cached('packages', known.file);
    if (existsSync(path) && sha256(path) === known.sha256) return known;
  }
  const file = download(spec);
  const path = cached('packages', file);
  const field = (name) => execFileSync('dpkg-deb', ['-f', path, name], { encoding: 'utf8' }).trim();
  const entry = {
    file,
    version: field('Version'),
    architecture: field('Architecture'),
    sha256: sha256(path),
  };
  manifest.packages[spec] = entry;
  writeManifest(manifest);
  return entry;
}

function download(spec) {
  mkdirSync(join(CACHE, 'packages'), { recursive: true });
  const work = mkdtempSync(join(CACHE, 'packages', 'download-'));
  try {
    apt('apt-get', ['download', '-q', spec], spec, { cwd: work });
    const file = readdirSync(work).find((name) => name.endsWith('.deb'));
    if (file === undefined) throw new Unavailable(`apt-get download ${spec}: no file came`);
    renameSync(join(work, file), join(CACHE, 'packages', file));
    return file;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The package with the newest kernel of a flavour: what the empty package linux-image-FLAVOUR depends on. */
export function kernelPackage(flavour) {
  const pattern = new RegExp(`^linux-image-[0-9][^:]*-${flavour}:i386$`);
  const known = Object.keys(readManifest().packages).find((name) => pattern.test(name));
  if (known !== undefined) return known;
  const meta = `linux-image-${flavour}:i386`;
  const text = apt('apt-cache', ['depends', meta], meta, {});
  const name = new RegExp(`Depends: (linux-image-[0-9]\\S*-${flavour})(?::i386)?\\s`).exec(text)?.[1];
  if (name === undefined) throw new Unavailable(`${meta} names no kernel`);
  return `${name}:i386`;
}

/** Runs apt with the host's lists, or, if they lack the package, with ours. */
function apt(program, args, spec, options) {
  const run = (extra) =>
    execFileSync(program, [...extra, ...args], {
      ...options,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  try {
    if (hostKnows(spec)) return run([]);
    return run(ownLists());
  } catch (error) {
    if (error instanceof Unavailable) throw error;
    const reason = `${error.stderr ?? ''}`.trim() || error.message;
    throw new Unavailable(`${program} ${args.join(' ')}: ${reason}`);
  }
}

function hostKnows(spec) {
  try {
    const text = execFileSync('apt-cache', ['show', spec], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return text.includes('Filename:');
  } catch {
    return false;
  }
}

/** Options that make apt use lists in the cache that cover i386; fetched once. */
function ownLists() {
  const native = execFileSync('dpkg', ['--print-architecture'], { encoding: 'utf8' }).trim();
  const folder = join(CACHE, 'apt');
  const architectures = [...new Set([native, 'i386'])].flatMap((name) => [
    '-o',
    `APT::Architectures::=${name}`,
  ]);
  const options = [
    ...architectures,
    ...['-o', `Dir::State::lists=${folder}/lists`, '-o', `Dir::Cache=${folder}/cache`],
    ...['-o', 'Acquire::Languages=none', '-o', 'APT::Sandbox::User='],
  ];
  if (!existsSync(join(folder, 'complete'))) {
    mkdirSync(join(folder, 'lists/partial'), { recursive: true });
    mkdirSync(join(folder, 'cache/archives/partial'), { recursive: true });
    execFileSync('apt-get', [...options, '-q', 'update'], { stdio: ['ignore', 'ignore', 'pipe'] });
    mkdirSync(join(folder, 'complete'));
  }
  return options;
}
