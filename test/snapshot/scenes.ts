/**
 * What a guest is doing when it is saved, and how one sees that it goes on whole. Every scene is played by our machine
 * and by QEMU alike.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { qemuImg } from '../support/qemu-snapshot.ts';
import type { Pc, PcOptions } from '../support/pc.ts';
import type { Qemu } from '../support/qemu.ts';

export type Box = Pc | Qemu;

export interface Moment {
  readonly tag: string;
  /** From the moment before (the first: from power-on) to this one. */
  reach(box: Box): Promise<void>;
  /** After a load: shows that the guest is alive and nothing was lost. Time has stood still since the save. */
  goesOn(box: Box): Promise<void>;
  /** Looks at the disk once the machine is gone. */
  checkDisk?(image: string): void;
}

/**
 * The kernel is not to doubt its timer: QEMU's comes late where the host is busy, and Linux panics ("IO-APIC + timer doesn't work").
 */
const LINUX = 'console=tty0 console=ttyS0 cryptomgr.notests no_timer_check';

/** Moments that follow one another in one run. */
export interface Scene {
  readonly name: string;
  readonly memoryMiB: number;
  makeImage(image: string): void;
  /** For the first run only; a load needs the disks alone. */
  readonly boot: Pick<PcOptions, 'kernel'>;
  readonly cdrom?: string;
  readonly moments: readonly Moment[];
}

/** What a 80×25 text screen shows, a string a line; code page 437 beyond ASCII is shown as dots. */
export async function textScreen(box: Box): Promise<string[]> {
  const memory = await box.readMemory(0xb8000, 80 * 25 * 2);
  const lines: string[] = [];
  for (let row = 0; row < 25; row++) {
    let line = '';
    for (let column = 0; column < 80; column++) {
      const code = memory[(row * 80 + column) * 2]!;
      line += code >= 32 && code < 127 ? String.fromCharCode(code) : code === 0 ? ' ' : '.';
    }
    lines.push(line.trimEnd());
  }
  return lines;
}

export async function waitForScreen(box: Box, pattern: RegExp, limitMs: number): Promise<string> {
  for (const end = Date.now() + limitMs; ; await delay(100)) {
    const text = (await textScreen(box)).join('\n');
    if (pattern.test(text)) return text;
    if (Date.now() > end) throw new Error(`no ${pattern} on the screen within ${limitMs} ms:\n${text}`);
  }
}

async function until(what: string, limitMs: number, holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + limitMs; !(await holds()); await delay(50)) {
    if (Date.now() > end) throw new Error(`${what}: not within ${limitMs} ms`);
  }
}

const word = async (box: Box, address: number): Promise<number> =>
  Buffer.from(await box.readMemory(address, 4)).readUInt32LE(0);

/** BIOS data area: timer ticks since midnight, tail of the keyboard buffer. */
const BDA_TICKS = 0x46c;
const BDA_KEYBOARD_TAIL = 0x41c;

export const firmwareScene: Scene = {
  name: 'SeaBIOS prompt',
  memoryMiB: 16,
  boot: {},
  makeImage: (image) => {
    qemuImg('create', '-q', '-f', 'qcow2', image, '16M');
  },
  moments: [
    {
      tag: 'prompt',
      reach: async (box) => {
        await waitForScreen(box, /No bootable device/, 30_000);
      },
      goesOn: async (box) => {
        await waitForScreen(box, /No bootable device/, 1_000);
        const ticks = await word(box, BDA_TICKS);
        await until('BIOS clock', 5_000, async () => (await word(box, BDA_TICKS)) > ticks + 2);
        const tail = (await word(box, BDA_KEYBOARD_TAIL)) & 0xffff;
        await box.sendKeys(['a']);
        await until('key', 5_000, async () => ((await word(box, BDA_KEYBOARD_TAIL)) & 0xffff) !== tail);
      },
    },
  ],
};

/** `file`: Debian's grub-rescue-cdrom.iso. */
export function grubScene(file: string): Scene {
  return {
    name: 'GRUB menu',
    memoryMiB: 64,
    boot: {},
    cdrom: file,
    makeImage: (image) => {
      qemuImg('create', '-q', '-f', 'qcow2', image, '16M');
    },
    moments: [
      {
        tag: 'menu',
        reach: async (box) => {
          await waitForScreen(box, /executed automatically in \d+s/, 60_000);
        },
        goesOn: async (box) => {
          const seconds = async (): Promise<number> =>
            Number(
              /automatically in (\d+)s/.exec(await waitForScreen(box, /automatically in \d+s/, 5_000))![1],
            );
          const before = await seconds();
          await until('countdown', 10_000, async () => (await seconds()) < before);
          await box.sendKeys(['down', 'c']);
          await waitForScreen(box, /grub> *$/m, 10_000);
          // Reads the CD.
          await box.sendKeys(['l', 's', 'spc', 'slash', 'ret']);
          await waitForScreen(box, /boot\/?.*\n(.*\n)*grub> *$/m, 10_000);
        },
      },
    ],
  };
}

/** The demo disk: checks RAM, disk and clock all the time and says so once a second. */
export function demoScene(image: string): Scene {
  return {
    name: 'demo disk running',
    memoryMiB: 16,
    boot: {},
    makeImage: (file) => {
      qemuImg('convert', '-O', 'qcow2', image, file);
    },
    moments: [
      {
        tag: 'demo',
        reach: async (box) => {
          await box.serial.waitFor(/tick 0002/, 30_000);
        },
        goesOn: demoGoesOn,
      },
    ],
  };
}

/** Two more ticks, one after the other, without an error; a key arrives. */
export async function demoGoesOn(box: Box): Promise<void> {
  box.serial.mark();
  const [, first] = await box.serial.waitFor(
    /tick (\d+) disk OK writes=\d+ reads=\d+ pages=\d+ errors=0/,
    10_000,
  );
  await box.sendKeys(['z']);
  const next = String(Number(first) + 2).padStart(4, '0');
  await box.serial.waitFor(
    new RegExp(`tick ${next} disk OK writes=\\d+ reads=\\d+ pages=\\d+ errors=0 key=z`),
    15_000,
  );
  if (/ERROR/.test(box.serial.fresh)) throw new Error(box.serial.fresh);
}

/** Long enough for a host with many other things to do. */
const SHELL_MS = 120_000;

/** What the kernel says in between: a busy host makes it doubt its clocks. */
const KERNEL_MESSAGE = /^\[ *\d+\.\d{6}\] .*\n?/gm;

/** Runs a command in the shell on COM1 and gives what it prints. */
export async function shell(box: Box, command: string, limitMs = SHELL_MS): Promise<string> {
  box.serial.mark();
  // The echo of the command does not contain the marks as they are printed.
  box.serial.send(`echo BEG''IN; ${command}; echo EN''D\n`);
  const match = await box.serial.waitFor(/BEGIN\r?\n([\s\S]*?)END\r?\n/, limitMs);
  return match[1]!.replaceAll('\r', '').replace(KERNEL_MESSAGE, '').trim();
}

function expectText(what: string, text: string, pattern: RegExp): void {
  if (!pattern.test(text)) throw new Error(`${what}: ${JSON.stringify(text)} does not match ${pattern}`);
}

const EDITOR_TTY = 4;

/** Bytes of the file that is copied over and over. */
const COPY_BYTES = 3 << 20;
const COPIES = 8;

/** File system of the first partition-less disk clean, image clean. */
function checkFileSystem(image: string): void {
  const raw = `${image}.raw`;
  qemuImg('convert', '-O', 'raw', image, raw);
  const result = spawnSync('e2fsck', ['-f', '-n', raw], { encoding: 'utf8', timeout: 60_000 });
  rmSync(raw);
  if (result.status !== 0) throw new Error(`e2fsck: ${result.stdout}${result.stderr}`);
}

/** Linux on an initramfs with busybox, ext4 on the disk. */
export function linuxScene(kernel: string, initrd: string): Scene {
  return {
    name: 'Linux',
    memoryMiB: 128,
    boot: { kernel: { file: kernel, initrd, append: LINUX } },
    makeImage: (image) => {
      const raw = `${image}.raw`;
      qemuImg('create', '-q', '-f', 'raw', raw, '96M');
      const made = spawnSync('mke2fs', ['-q', '-t', 'ext4', raw], { encoding: 'utf8', timeout: 60_000 });
      if (made.status !== 0) throw new Error(`mke2fs: ${made.stderr}`);
      qemuImg('convert', '-f', 'raw', '-O', 'qcow2', raw, image);
      rmSync(raw);
    },
    moments: [
      {
        tag: 'shell',
        reach: async (box) => {
          await box.serial.waitFor(/GUEST-READY/, 2 * SHELL_MS);
          await delay(1_000);
          expectText('mount', await shell(box, 'mkdir /mnt; mount /dev/sda /mnt && echo MOUNTED'), /MOUNTED/);
          await delay(1_000);
        },
        goesOn: async (box) => {
          expectText('shell', await shell(box, 'uname -sr'), /^Linux 6\.1/);
          // The kernel may say something in between: that the TSC has another rate now.
          const uptime = 'echo UP $(cut -d. -f1 /proc/uptime)';
          const uptimes = await shell(box, `${uptime}; sleep 2; ${uptime}`);
          const [before, after] = [...uptimes.matchAll(/UP (\d+)/g)].map((match) => Number(match[1]));
          if (!(after! - before! >= 2 && after! - before! <= 15)) throw new Error(`clock: ${uptimes}`);
          await keyboardWorks(box);
          // The kernel may print something of its own in between.
          await shell(box, 'head -c 300000 /dev/urandom > /tmp/x; cp /tmp/x /mnt/x; sync');
          await shell(box, 'echo 3 > /proc/sys/vm/drop_caches');
          expectText('disk', await shell(box, 'cmp /tmp/x /mnt/x && echo SAME'), /SAME/);
          expectText('umount', await shell(box, 'umount /mnt && echo GONE'), /GONE/);
        },
        checkDisk: checkFileSystem,
      },
      {
        tag: 'dd',
        reach: async (box) => {
          await shell(box, `head -c ${COPY_BYTES} /dev/urandom > /tmp/r; md5sum < /tmp/r > /tmp/sum`);
          box.serial.mark();
          const list = Array.from({ length: COPIES }, (_, i) => i).join(' ');
          box.serial.send(
            `for i in ${list}; do echo CO''PY $i; dd if=/tmp/r of=/mnt/f$i bs=16k conv=fsync; done; echo COPIED''ALL\n`,
          );
          await box.serial.waitFor(/COPY 2/, SHELL_MS);
        },
        goesOn: async (box) => {
          box.serial.mark();
          await box.serial.waitFor(/COPIEDALL/, SHELL_MS);
          await shell(box, 'echo 3 > /proc/sys/vm/drop_caches');
          const [sum] = (await shell(box, 'cat /tmp/sum')).split(' ');
          const sums = await shell(box, 'md5sum /mnt/f* | cut -d" " -f1');
          if (sums.split('\n').length !== COPIES || sums.split('\n').some((each) => each !== sum)) {
            throw new Error(`dd: expected ${sum} ${COPIES} times, found ${sums}`);
          }
          expectText('umount', await shell(box, 'rm /mnt/f*; umount /mnt && echo GONE'), /GONE/);
        },
        checkDisk: checkFileSystem,
      },
      {
        tag: 'editor',
        reach: async (box) => {
          await box.serial.waitFor(/COPIEDALL/, SHELL_MS);
          // A terminal of its own: on the first one sits a shell that would take the keys.
          await shell(box, `rm -f /mnt/f*; openvt -c ${EDITOR_TTY} -s -- vi /mnt/text; sleep 1`);
          await until('vi', SHELL_MS, async () => /^~ *\n~/m.test(await consoleText(box)));
          await box.sendKeys(['i', 'o', 'n', 'e', 'ret', 't', 'w', 'o']);
          await until('typed text on the screen', SHELL_MS, async () =>
            /^one *\ntwo/m.test(await consoleText(box)),
          );
        },
        goesOn: async (box) => {
          expectText('screen', await consoleText(box), /^one *\ntwo/m);
          await box.sendKeys([
            'ret',
            't',
            'h',
            'r',
            'shift-e',
            'e',
            'esc',
            'shift-semicolon',
            'w',
            'q',
            'ret',
          ]);
          await until('the file is written', SHELL_MS, async () =>
            /one\ntwo\nthrEe/.test(await shell(box, 'cat /mnt/text; sync')),
          );
          expectText('umount', await shell(box, 'umount /mnt && echo GONE'), /GONE/);
        },
        checkDisk: checkFileSystem,
      },
    ],
  };
}

/** What the editor's terminal shows: read from video memory, wherever Linux has scrolled to. */
function consoleText(box: Box): Promise<string> {
  return shell(box, `fold -w 80 /dev/vcs${EDITOR_TTY}`);
}

/** What is typed on the keyboard reaches the terminal on the screen. */
async function keyboardWorks(box: Box): Promise<void> {
  await shell(box, 'openvt -c 5 -s -- sh -c "head -n 1 > /tmp/typed"; sleep 1');
  await box.sendKeys(['h', 'e', 'shift-l', 'l', 'o', 'ret']);
  await until('keyboard', SHELL_MS, async () => (await shell(box, 'cat /tmp/typed')) === 'heLlo');
}
