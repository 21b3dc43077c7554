/**
 * Where a host file has data (SEEK_DATA, SEEK_HOLE). Node has no lseek: a short-lived perl asks for us, as for locks
 * (lock.ts). Without perl the whole file counts as data.
 */
import { spawn } from 'node:child_process';

/** Pieces that are asked for at most; what lies behind counts as data. */
const MAX_PIECES = 1_000_000;

const PROGRAM = `
open(my $f, "<", $ARGV[0]) || exit 1;
my ($at, $left) = (0, $ARGV[1]);
while ($left-- > 0) {
  my $data = sysseek($f, $at, 3);
  last unless defined $data;
  my $hole = sysseek($f, $data, 4);
  exit 1 unless defined $hole;
  print $data + 0, " ", $hole + 0, "\\n";
  $at = $hole + 0;
}
print "end\\n";`;

/** Ranges with data, in order, as [start, end]; undefined if nobody can tell. */
export async function dataRanges(filename: string): Promise<[number, number][] | undefined> {
  const text = await new Promise<string>((resolve) => {
    const child = spawn('perl', ['-e', PROGRAM, filename, String(MAX_PIECES)], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const parts: Buffer[] = [];
    child.stdout.on('data', (part: Buffer) => parts.push(part));
    child.on('error', () => resolve(''));
    child.on('close', () => resolve(Buffer.concat(parts).toString('latin1')));
  });
  const lines = text.trimEnd().split('\n');
  if (lines.pop() !== 'end') return undefined;
  const ranges = lines.map((line) => line.split(' ').map(Number) as [number, number]);
  if (ranges.length === MAX_PIECES) ranges.push([ranges.at(-1)![1], Number.MAX_SAFE_INTEGER]);
  return ranges;
}
