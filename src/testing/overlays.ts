/** Disks for tests: every image that a guest may write gets a qcow2 overlay, so that the original is never changed. */
import { join, resolve } from 'node:path';
import type { DriveSpec, MachineOptions } from '../api/options.ts';
import { openImage } from '../block/open.ts';
import { createQcow2 } from '../block/qcow2/create.ts';

const SHORT_FORMS = ['hda', 'hdb', 'hdc', 'hdd', 'fda', 'fdb'] as const;
/** Holds RAM and device state of a guest that has no disk of its own. */
const STATE_FILE = 'state.qcow2';

/** The same machine on overlays in `folder`. `create`: make them (they are there otherwise). */
export async function onOverlays(
  options: MachineOptions,
  folder: string,
  create: boolean,
): Promise<MachineOptions> {
  let count = 0;
  const overlay = async (file: string): Promise<string> => {
    const name = join(folder, `disk${count++}.qcow2`);
    if (create) await createOverlay(file, name);
    return name;
  };
  const short: Partial<Record<(typeof SHORT_FORMS)[number], string>> = {};
  for (const key of SHORT_FORMS) {
    const file = options[key];
    if (file !== undefined) short[key] = await overlay(file);
  }
  const drives: DriveSpec[] = [];
  for (const drive of options.drives ?? []) {
    const isWritten = drive.media !== 'cdrom' && drive.readOnly !== true && drive.file !== undefined;
    drives.push(isWritten ? { ...drive, file: await overlay(drive.file!), format: 'qcow2' } : drive);
  }
  if (count === 0) {
    const file = join(folder, STATE_FILE);
    if (create) await createQcow2(file, { sizeBytes: 65_536 });
    drives.push({ file, interface: 'none', format: 'qcow2' });
  }
  return { ...options, ...short, drives };
}

async function createOverlay(file: string, name: string): Promise<void> {
  const base = await openImage(file, { readOnly: true });
  try {
    const { sizeBytes, format } = base;
    await createQcow2(name, { sizeBytes, backingFile: resolve(file), backingFormat: format });
  } finally {
    await base.close();
  }
}
