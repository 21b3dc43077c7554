#!/usr/bin/env node
import { existsSync } from 'node:fs';

const program = new URL('../dist/cli/main.js', import.meta.url);
if (!existsSync(program)) {
  process.stderr.write('ambervm: not built yet: run `npm run build` (or `npm start`) first\n');
  process.exit(1);
}
const { main } = await import(program.href);
const code = await main(process.argv.slice(2));
// Whatever is still open (a pty, a socket without a peer) must not keep us.
process.exit(code);
