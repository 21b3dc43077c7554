// Makes one file of the program, and V8's code cache of it, so that starting it costs no reading and compiling of hundreds
// of modules (docs/decisions/0005-one-file.md). bin/ambervm.js runs it; without it, the modules in dist.
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = new URL('../', import.meta.url);
const file = (name) => fileURLToPath(new URL(name, root));
// Two folders below the root, like the modules that look for files by their own place.
const bundle = file('dist/program/ambervm.cjs');

rmSync(file('dist/program'), { recursive: true, force: true });
await build({
  entryPoints: [file('dist/cli/main.js')],
  outfile: bundle,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  // Native, and optional.
  external: ['node-pty'],
  // `import()` becomes `require()`: scripts run by node:vm may not import.
  supported: { 'dynamic-import': false },
  define: { 'import.meta.url': 'moduleUrl' },
  banner: { js: "const moduleUrl = require('node:url').pathToFileURL(__filename).href;" },
  minifyWhitespace: true,
  sourcemap: 'linked',
  logLevel: 'warning',
});
// bin/ambervm.js reads it as Latin-1.
if (readFileSync(bundle).some((byte) => byte > 0x7f)) throw new Error(`${bundle} is not ASCII`);
// One start and end of a machine, so that what it needs is compiled; bin/ambervm.js then keeps it.
const { status } = spawnSync(
  process.execPath,
  [file('bin/ambervm.js'), '-S', '-display', 'none', '-serial', 'null', '-monitor', 'stdio', '-m', '16'],
  { input: 'quit\n', stdio: ['pipe', 'ignore', 'inherit'], env: { ...process.env, AMBERVM_CODE_CACHE: '1' } },
);
if (status !== 0) process.stderr.write('build: no code cache: the program will start more slowly\n');
