/** Our version, from package.json, and how we introduce ourselves. */
import { readFileSync } from 'node:fs';

const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

export const VERSION: string = manifest.version;
export const VERSION_TEXT: string = `ambervm version ${VERSION} (machine pc-i440fx-7.2, snapshots of QEMU 7.2)`;
