/** The core in a browser: it bundles without `node:*`, and headless Chromium comes to the numbers that Node comes to. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, expect, test } from 'vitest';
import { requireProgram } from '../support/programs.ts';
import { runScenario, type ScenarioResult } from './scenario.ts';

const file = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'ambervm-browser-'));
const children: ChildProcess[] = [];
afterAll(async () => {
  await Promise.all(children.map(end));
  // Its helpers may outlive it by a moment, and write.
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 250 });
});

/** The whole process group, and waits until it is gone. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  process.kill(-child.pid!, 'SIGKILL');
  await closed;
}

async function bundle(source: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: fileURLToPath(new URL('.', import.meta.url)), loader: 'ts' },
    bundle: true,
    platform: 'browser',
    format: 'esm',
    target: 'es2023',
    write: false,
    logLevel: 'silent',
  });
  return outputFiles[0]!.text;
}

test('machine, devices and migration bundle for a browser', async () => {
  const text = await bundle("export { Machine } from '../../src/machine/machine.ts';");
  expect(text).not.toMatch(/from ["']node:|require\(["']node:/);
});

const PAGE = `<!doctype html><meta charset="utf-8"><title>ambervm</title><script>
const worker = new Worker('/worker.js', { type: 'module' });
worker.onmessage = ({ data }) => fetch('/result', { method: 'POST', body: JSON.stringify(data) });
worker.onerror = (event) => fetch('/result', { method: 'POST', body: JSON.stringify({ failed: event.message }) });
</script>`;
const WORKER = `
import { runScenario } from './scenario.ts';
const get = async (name: string) => new Uint8Array(await (await fetch(name)).arrayBuffer());
runScenario({ bios: await get('/bios'), demo: await get('/demo') }).then(postMessage, (error) => postMessage({ failed: String(error.stack) }));
`;

/** Serves the page until a result is posted. */
async function inChromium(): Promise<ScenarioResult & { readonly failed?: string }> {
  const worker = await bundle(WORKER);
  const answers: Readonly<Record<string, readonly [string, string | Buffer]>> = {
    '/': ['text/html', PAGE],
    '/worker.js': ['text/javascript', worker],
    '/bios': ['application/octet-stream', readFileSync(file('images/firmware/amberbios.bin'))],
    '/demo': ['application/octet-stream', readFileSync(file('images/demo/demo.img'))],
  };
  let resolveResult: (text: string) => void = () => {};
  const result = new Promise<string>((resolve) => {
    resolveResult = resolve;
  });
  const server = createServer((request, response) => {
    if (request.method === 'POST') {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        response.end();
        resolveResult(body);
      });
      return;
    }
    const answer = answers[request.url ?? ''];
    response.writeHead(answer === undefined ? 404 : 200, { 'content-type': answer?.[0] ?? 'text/plain' });
    response.end(answer?.[1]);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const flags = [
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--no-first-run',
  ];
  const child = spawn('chromium', [...flags, `--user-data-dir=${folder}`, `http://127.0.0.1:${port}/`], {
    detached: true,
  });
  children.push(child);
  const ended = new Promise<never>((_, reject) => {
    child.once('close', (code) => reject(new Error(`chromium ended with code ${code}`)));
  });
  try {
    return JSON.parse(await Promise.race([result, ended])) as ScenarioResult;
  } finally {
    ended.catch(() => {});
    await end(child);
    server.close();
  }
}

test.skipIf(!requireProgram('chromium'))(
  'headless Chromium comes to the same numbers as Node (skipped without chromium)',
  async () => {
    const here = await runScenario({
      bios: readFileSync(file('images/firmware/amberbios.bin')),
      demo: readFileSync(file('images/demo/demo.img')),
    });
    expect(here.sums['after going back']).toBe(here.sums['after the snapshot']);
    expect(here.serial).toContain('tick');
    const there = await inChromium();
    expect(there.failed).toBeUndefined();
    expect(there).toEqual(here);
  },
  300_000,
);
