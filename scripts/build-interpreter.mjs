// Writes the interpreter's module into dist, so that starting a machine does not generate it. See interpreter-image.ts.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const dist = new URL('../dist/machine/cpu/', import.meta.url);
const image = new URL('generate/interpreter-image.js', dist);
writeFileSync(fileURLToPath(image), 'export const INTERPRETER_IMAGE = undefined;\n');
const { buildInterpreter } = await import(new URL('generate/interpreter.js', dist));
const { coldNumber } = await import(new URL('cold-operations.js', dist));
const { bytes } = buildInterpreter(coldNumber);
const base64 = Buffer.from(bytes).toString('base64');
writeFileSync(fileURLToPath(image), `export const INTERPRETER_IMAGE = '${base64}';\n`);
