#!/usr/bin/env node
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';

const modules = new URL('../dist/cli/main.js', import.meta.url);
const bundle = fileURLToPath(new URL('../dist/program/ambervm.cjs', import.meta.url));
const cache = `${bundle}.cache`;

/** The program in one file, with what V8 made of it at build time; V8 refuses that of another version or CPU, and compiles. */
function loadBundle() {
  // All of it ASCII.
  const source = readFileSync(bundle, 'latin1');
  const script = new Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`, {
    filename: bundle,
    ...(existsSync(cache) ? { cachedData: readFileSync(cache) } : {}),
  });
  const module = { exports: {} };
  const evaluate = script.runInThisContext();
  evaluate(module.exports, createRequire(bundle), module, bundle, dirname(bundle));
  return { main: module.exports.main, script };
}

if (!existsSync(modules)) {
  process.stderr.write('ambervm: not built yet: run `npm run build` (or `npm start`) first\n');
  process.exit(1);
}
const { main, script } = existsSync(bundle) ? loadBundle() : await import(modules.href);
const code = await main(process.argv.slice(2));
if (process.env.AMBERVM_CODE_CACHE && script) writeFileSync(cache, script.createCachedData());
// Whatever is still open (a pty, a socket without a peer) must not keep us.
process.exit(code);
