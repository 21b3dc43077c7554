/** The program from its sources in one file, for tests that need it as a process: `node FILE ARGUMENTS`. */
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

export const ROOT: string = join(import.meta.dirname, '../..');

/** Makes it in `folder`, gives its name there. */
export async function bundleProgram(folder: string): Promise<string> {
  // The version is read from it, two folders up.
  copyFileSync(join(ROOT, 'package.json'), join(folder, 'package.json'));
  const entry = join(folder, 'entry.mjs');
  const main = JSON.stringify(join(ROOT, 'src/cli/main.ts'));
  writeFileSync(entry, `import { main } from ${main};\nprocess.exit(await main(process.argv.slice(2)));\n`);
  await build({
    entryPoints: [entry],
    bundle: true,
    platform: 'node',
    format: 'esm',
    // `ws` is CommonJS.
    banner: {
      js: "import * as nodeModule from 'node:module'; const require = nodeModule.createRequire(import.meta.url);",
    },
    external: ['node-pty'],
    outfile: join(folder, 'bundle/program/run.mjs'),
    logLevel: 'error',
  });
  return 'bundle/program/run.mjs';
}
