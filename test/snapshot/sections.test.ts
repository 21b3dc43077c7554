/** What our machine writes is what QEMU's reference machine writes: sections, versions, fields, subsections, in order. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasQemu, hasSeabios } from '../support/qemu.ts';
import { readVmStates, temporaryFolder } from '../support/qemu-snapshot.ts';
import { parseVmStream, type VmStream } from '../support/vm-stream.ts';
import { saveMoments } from './relay.ts';
import { firmwareScene } from './scenes.ts';

/** Of QEMU's machine, not of ours: read over on load. */
const SKIPPED = ['kvm-tpr-opt/0', 'vmmouse/0'];
/** QEMU's SeaBIOS entered system management mode; our machine has none. */
const SMI_COUNT = 'cpu/0 <cpu/msr_smi_count>';

describe.skipIf(!hasQemu || !hasSeabios)('the stream at the SeaBIOS prompt', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let ours: VmStream;
  let theirs: VmStream;
  beforeAll(async () => {
    folder = temporaryFolder();
    const streamOf = async (kind: 'ours' | 'qemu'): Promise<VmStream> => {
      const image = join(folder.path, `${kind}.qcow2`);
      await saveMoments(kind, firmwareScene, image);
      return parseVmStream(readVmStates(image).get('prompt')!);
    };
    ours = await streamOf('ours');
    theirs = await streamOf('qemu');
  }, 120_000);
  afterAll(() => folder?.[Symbol.dispose]());

  it('names the same machine and the same RAM blocks', () => {
    expect(ours.machineType).toBe(theirs.machineType);
    const sizes = ({ ram }: VmStream) => [...ram].map(([name, bytes]) => `${name} ${bytes.length}`);
    expect(sizes(ours)).toEqual(sizes(theirs));
  });

  it('has the same sections and versions in the same order', () => {
    const versions = (stream: VmStream) =>
      stream.sections
        .filter((name) => !SKIPPED.includes(name))
        .map((name) => `${name} v${stream.versions.get(name)}`);
    expect(versions(ours)).toEqual(versions(theirs));
  });

  it('has the same fields of the same sizes in the same order', () => {
    const fields = (stream: VmStream) =>
      [...stream.fields]
        .filter(([field]) => !field.startsWith(SMI_COUNT))
        .filter(([field]) => !SKIPPED.some((name) => field.startsWith(`${name} `)))
        .map(([field, hex]) => `${field}: ${hex.length / 2}`);
    expect(fields(ours)).toEqual(fields(theirs));
  });
});
