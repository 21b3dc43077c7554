/** What the benchmark asks of an emulator: a command line, made from a description of the machine. */

export interface VmSpec {
  readonly memMiB: number;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  /** A disk image for the first IDE disk; qcow2, for v86 its raw twin. */
  readonly disk?: { readonly qcow2: string; readonly raw: string; readonly cache: string };
  /** Path of a Unix socket on which the monitor listens. */
  readonly monitor?: string;
  /** Snapshot to start from. */
  readonly loadvm?: string;
}

export type EmulatorName = 'ours' | 'qemu' | 'v86';

export interface Emulator {
  readonly name: EmulatorName;
  /** Name and version, for the heading. */
  readonly title: string;
  /** Serial port on standard output. */
  command(spec: VmSpec): readonly string[];
}

/** Why an emulator is missing from the table. */
export class PeerMissing extends Error {}
