/** The example project as a newcomer gets it: the packed tarball, installed into a copy, its tests run. */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'ambervm-example-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

// A tree that was not built has nothing to pack.
const isBuilt = existsSync(join(ROOT, 'dist/testing/index.js'));
if (!isBuilt && process.env['CI'] === 'true') throw new Error('dist is not built, and this is CI');

test.skipIf(!isBuilt)(
  'examples/guest-tests with the packed tarball (skipped without a build)',
  async () => {
    const { stdout } = await run(
      'npm',
      ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder],
      { cwd: ROOT },
    );
    const tarball = join(folder, stdout.trim().split('\n').pop()!);
    const project = join(folder, 'project');
    cpSync(join(ROOT, 'examples/guest-tests'), project, { recursive: true });
    const manifest = join(project, 'package.json');
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('file:../..', `file:${tarball}`));
    await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--ignore-scripts'], {
      cwd: project,
    });
    // Declarations stand by themselves: no `dom`, none of the libraries unchecked.
    const names = ['ambervm', 'ambervm/testing', 'ambervm/qcow2'];
    writeFileSync(join(project, 'types.ts'), names.map((name) => `export * from '${name}';\n`).join(''));
    const options =
      '--noEmit --strict --target es2023 --lib es2023,esnext.disposable --module nodenext --types node';
    const roots = ['--typeRoots', join(ROOT, 'node_modules/@types')];
    const tsc = [join(ROOT, 'node_modules/typescript/bin/tsc'), ...options.split(' '), ...roots, 'types.ts'];
    const { stdout: complaints } = await run(process.execPath, tsc, { cwd: project }).catch(
      (error: { stdout: string }) => error,
    );
    expect(complaints.split('\n').filter((line) => line.includes('ambervm'))).toEqual([]);
    // Not as a part of the run that this test belongs to.
    const kept = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST')),
    );
    const env = { ...kept, NO_COLOR: '1', FORCE_COLOR: '0' };
    const result = await run('npm', ['test', '--', '--testTimeout=120000'], { cwd: project, env });
    expect(result.stdout).toMatch(/Tests\s+10 passed/);
    const [restored] = /restored 10 times.*/.exec(result.stdout) ?? [];
    expect(restored).toBeDefined();
    console.log(restored);
  },
  600_000,
);
