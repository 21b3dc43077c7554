/**
 * Image locking that QEMU sees and that sees QEMU.
 *
 * QEMU keeps open-file-description locks on single bytes of the image (block/file-posix.c): a shared lock on byte
 * 100 + n says "I use permission n", one on byte 200 + n says "nobody else may use permission n"; n = 0 consistent read,
 * 1 write, 2 write unchanged, 3 resize. Node cannot take such locks, but they belong to the open file, not to the
 * process: a short-lived perl or python3 that inherits the descriptor takes them for us, and they last until our handle
 * is closed or our process dies, however it dies. Nothing is left behind that could be stale.
 *
 * Where neither program is there, /proc/locks still shows QEMU's locks (detection only). On other systems than 64-bit
 * Linux there is no locking.
 */
import { spawn } from 'node:child_process';
import { readFile, type FileHandle } from 'node:fs/promises';
import { endianness } from 'node:os';
import { BlockError } from './errors.ts';

export interface ImageLock {
  release(): Promise<void>;
}

export interface LockRequest {
  readonly write: boolean;
  /** Take part in nothing: neither refuse nor be refused. */
  readonly forceShare: boolean;
}

const PERM_BASE = 100;
const SHARED_BASE = 200;
const CONSISTENT_READ = 0;
const WRITE = 1;
const RESIZE = 3;
const NAMES: Record<number, string> = { 0: 'consistent read', 1: 'write', 2: 'write unchanged', 3: 'resize' };

const PROGRAMS: readonly (readonly string[])[] = [
  [
    'perl',
    '-e',
    // F_OFD_SETLK 37, F_OFD_GETLK 36, F_RDLCK 0, F_WRLCK 1, F_UNLCK 2; struct flock of 64-bit Linux.
    `my $f;
     sub lock_ { my $s = pack("s s x4 q q l x4", $_[1], 0, $_[2], 1, 0); defined(fcntl($f, $_[0], $s)) or return -1;
                 return unpack("s", $s); }
     my ($take, $test, $files) = map { [split /,/, $_] } @ARGV;
     for my $n (0 .. $files->[0] - 1) {
       undef $f;
       open($f, "+<&=", 3 + $n) || open($f, "<&=", 3 + $n) || exit 3;
       for (@$take) { lock_(37, 0, $_) >= 0 or do { print "lock $_ $n"; exit 0 } }
       for (@$test) { my $t = lock_(36, 1, $_); $t < 0 and exit 3; $t != 2 and do { print "busy $_ $n"; exit 0 } }
     }
     print "ok";`,
  ],
  [
    'python3',
    '-c',
    `import fcntl,struct,sys
def lock(cmd,typ,at):
  return struct.unpack_from("h",fcntl.fcntl(3+n,cmd,struct.pack("hh4xqqi4x",typ,0,at,1,0)))[0]
take,test=[[int(x) for x in a.split(",") if x] for a in sys.argv[1:3]]
for n in range(int(sys.argv[3])):
  for b in take:
    try: lock(37,0,b)
    except OSError as e:
      if e.errno in (11,13): print("lock %d %d"%(b,n),end=""); sys.exit(0)
      raise
  for b in test:
    if lock(36,1,b)!=2: print("busy %d %d"%(b,n),end=""); sys.exit(0)
print("ok",end="")`,
  ],
];

/** Locks `handle` as QEMU does, or throws BlockError `in-use` with QEMU's words. */
export async function lockImage(
  handle: FileHandle,
  filename: string,
  request: LockRequest,
): Promise<ImageLock | undefined> {
  return lockImages([{ handle, filename }], request);
}

/** An open image that is to be locked. */
export interface Lockable {
  readonly handle: FileHandle;
  readonly filename: string;
}

/** The same for several images at once, by one program; all are locked, or it throws. */
export async function lockImages(
  images: readonly Lockable[],
  request: LockRequest,
): Promise<ImageLock | undefined> {
  if (images.length === 0) return undefined;
  if (request.forceShare || process.platform !== 'linux' || endianness() !== 'LE') return undefined;
  if (process.arch !== 'x64' && process.arch !== 'arm64') return undefined;
  const wanted = request.write ? [CONSISTENT_READ, WRITE, RESIZE] : [CONSISTENT_READ];
  const denied = [WRITE, RESIZE];
  const take = [...wanted.map((n) => PERM_BASE + n), ...denied.map((n) => SHARED_BASE + n)];
  const test = [...wanted.map((n) => SHARED_BASE + n), ...denied.map((n) => PERM_BASE + n)];
  for (const program of PROGRAMS) {
    const handles = images.map(({ handle }) => handle);
    const answer = await runOn(handles, program, [take.join(','), test.join(','), `${images.length}`]);
    if (answer === undefined) continue;
    if (answer === 'ok') return { release: async () => {} };
    const [, byte, image] = answer.split(' ');
    throw inUse(images[Number(image)]!.filename, Number(byte));
  }
  for (const { filename, handle } of images) await detectOnly(handle, filename, test);
  return undefined;
}

function inUse(filename: string, byte: number): BlockError {
  const shared = byte < SHARED_BASE;
  const name = NAMES[shared ? byte - PERM_BASE : byte - SHARED_BASE] ?? `byte ${byte}`;
  return new BlockError(
    'in-use',
    `Failed to get ${shared ? 'shared ' : ''}"${name}" lock\nIs another process using the image [${filename}]?`,
    { file: filename, section: 'lock', offset: byte },
  );
}

/** What the program printed, or undefined if it is not there or failed. */
function runOn(
  handles: readonly FileHandle[],
  program: readonly string[],
  args: string[],
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(program[0]!, [...program.slice(1), ...args], {
      stdio: ['ignore', 'pipe', 'ignore', ...handles.map(({ fd }) => fd)],
    });
    let text = '';
    child.stdout!.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    child.on('error', () => resolve(undefined));
    child.on('close', (code) => resolve(code === 0 && text !== '' ? text : undefined));
  });
}

/** Throws if somebody holds a lock on one of the bytes `test`. Lines of /proc/locks: `1: OFDLCK ADVISORY READ -1 fe:00:2146425 100 101`. */
export async function detectOnly(
  handle: FileHandle,
  filename: string,
  test: readonly number[],
): Promise<void> {
  let text: string;
  try {
    text = await readFile('/proc/locks', 'latin1');
  } catch {
    return;
  }
  const { ino, dev } = await handle.stat();
  const { major, minor } = deviceNumbers(dev);
  const id = `${hex(major)}:${hex(minor)}:${ino}`;
  for (const line of text.split('\n')) {
    const fields = line.trim().split(/\s+/);
    const at = fields.indexOf(id);
    if (at < 0 || !(fields[1] === 'OFDLCK' || fields[1] === 'POSIX')) continue;
    const last = fields[at + 2] === 'EOF' ? Number.POSITIVE_INFINITY : Number(fields[at + 2]);
    const hit = test.find((byte) => byte >= Number(fields[at + 1]) && byte <= last);
    if (hit !== undefined) throw inUse(filename, hit);
  }
}

/** As glibc packs them. */
export function deviceNumbers(dev: number): { major: number; minor: number } {
  return {
    major: Math.floor(dev / 256) & 0xfff,
    minor: (dev & 0xff) | (Math.floor(dev / 0x1000) & 0xfff00),
  };
}

const hex = (value: number): string => value.toString(16).padStart(2, '0');
