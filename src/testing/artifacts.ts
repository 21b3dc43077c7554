/** What a person wants to see of a test that failed: screen, serial log, registers. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine } from '../api/machine.ts';

/** Writes `screen.png`, `screen.txt`, `serial.log` and `registers.txt`; returns the folder. */
export async function writeArtifacts(vm: Machine, folder: string, testName: string): Promise<string> {
  const place = join(folder, testName.replace(/[^\w.-]+/g, '-').slice(0, 100));
  await mkdir(place, { recursive: true });
  const write = (name: string, data: string | Uint8Array) => writeFile(join(place, name), data);
  await write('registers.txt', await vm.monitor('info registers'));
  await write('serial.log', vm.serialPorts.map(({ text }) => text).join('\n'));
  if (vm.screen.isPresent) {
    await write('screen.png', vm.screen.png());
    await write('screen.txt', vm.screen.text());
  }
  return place;
}
