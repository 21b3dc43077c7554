/** Writes what is made from the option and command tables: docs/ambervm.1, docs/monitor.md, docs/trace-events.md, completions/. From the sources, no build needed. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FILES = {
  monitor: 'docs/monitor.md',
  trace: 'docs/trace-events.md',
  man: 'docs/ambervm.1',
  bash: 'completions/ambervm.bash',
  zsh: 'completions/_ambervm',
  fish: 'completions/ambervm.fish',
};

// Beside the program's sources: package.json is found from there.
const bundle = `${ROOT}src/cli/.generate-${process.pid}.mjs`;
try {
  await build({
    stdin: {
      contents:
        "export { generate } from './src/cli/generate.ts'; export { OPTION_GROUPS } from './src/cli/options.ts';",
      resolveDir: ROOT,
    },
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    outfile: bundle,
    logLevel: 'error',
  });
  const { generate, OPTION_GROUPS } = await import(pathToFileURL(bundle).href);
  mkdirSync(`${ROOT}completions`, { recursive: true });
  for (const [kind, path] of Object.entries(FILES)) writeFileSync(ROOT + path, generate(kind, OPTION_GROUPS));
} finally {
  rmSync(bundle, { force: true });
}
