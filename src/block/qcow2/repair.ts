/** Counts and COPIED flags set to what the tables say. For images that were not closed properly. */
import { BlockError } from '../errors.ts';
import { entryIsCopied, setCopied, setEntry } from './be64.ts';
import { countReferences } from './count-references.ts';
import { INCOMPAT_CORRUPT, INCOMPAT_DIRTY } from './header.ts';
import type { Qcow2Image } from './image.ts';
import { getRefcount } from './refcount.ts';
import { withCopied } from './regain-copied.ts';
import { Transaction } from './transaction.ts';

/**
 * Makes an image consistent in one transaction; refuses what cannot be counted. Needs the image to itself.
 * `leaks`: only counts that are too high.
 */
export async function repair(image: Qcow2Image, what: 'all' | 'leaks' = 'all'): Promise<void> {
  const { counts, errors } = await countReferences(image);
  if (errors.length > 0) {
    throw new BlockError('corrupt', `'${image.filename}': image cannot be repaired: ${errors[0]!.message}`, {
      file: image.filename,
      section: 'check',
      found: errors.length,
      expected: 'no damaged tables',
      cause: errors[0],
    });
  }
  const transaction = new Transaction(image);
  const { blockEntries, order, tableEntries } = image.refcounts;
  for (let index = 0; index < tableEntries; index++) {
    const block = await image.refcounts.block(index);
    if (block === undefined) continue;
    for (let i = 0; i < blockEntries; i++) {
      const want = counts.get(index * blockEntries + i);
      const stored = getRefcount(block, i, order);
      if (stored > want || (stored < want && what === 'all')) {
        await transaction.set(index * blockEntries + i, want);
      }
    }
  }
  if (what === 'all') {
    for (const [cluster, want] of counts.entries()) {
      if ((await transaction.refcount(cluster)) !== want) await transaction.set(cluster, want);
    }
  }
  await repairFlags(image, transaction);
  if (what === 'all') transaction.header.incompatible &= ~(INCOMPAT_DIRTY | INCOMPAT_CORRUPT);
  await transaction.commit();
}

async function repairFlags(image: Qcow2Image, transaction: Transaction): Promise<void> {
  const { clusterSize } = image;
  const l1 = Buffer.from(image.l1);
  let changed = false;
  for (let i = 0; i < image.header.l1Entries; i++) {
    const offset = image.l2Offset(l1, i);
    if (offset === 0) continue;
    const alone = (await transaction.refcount(offset / clusterSize)) === 1;
    if (alone !== entryIsCopied(l1, i)) {
      setCopied(l1, i, alone);
      changed = true;
    }
    const table = await withCopied(image, transaction, await image.l2Cache.get(offset));
    if (table === undefined) continue;
    changed = true;
    await transaction.change(offset / clusterSize, -1);
    setEntry(l1, i, await transaction.writeL2(table), 0, 0);
    setCopied(l1, i, true);
  }
  if (changed) await transaction.replaceL1(l1, image.header.l1Entries);
}
