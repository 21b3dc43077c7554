/**
 * Work that takes its time: snapshots saved, loaded, deleted, backing chains streamed. What a user can list, watch and cancel, with the names and
 * states of QEMU's jobs (qapi/job.json). Not here: other jobs of the block layer.
 */
import { Emitter } from './emitter.ts';
import {
  traceDelete,
  traceDeleted,
  traceLoad,
  traceLoaded,
  traceResumed,
  traceSave,
  traceSaved,
  traceStream,
  traceStreamed,
} from './trace.ts';

export type JobType = 'snapshot-save' | 'snapshot-load' | 'snapshot-delete' | 'stream';

const TRACES = {
  'snapshot-save': [traceSave, traceSaved],
  'snapshot-load': [traceLoad, traceLoaded],
  'snapshot-delete': [traceDelete, traceDeleted],
  stream: [traceStream, traceStreamed],
} as const;

/** JobStatus of QEMU, those that occur here; `null`: dismissed. */
export type JobStatus =
  | 'created'
  | 'running'
  | 'paused'
  | 'waiting'
  | 'pending'
  | 'aborting'
  | 'concluded'
  | 'null';

export interface JobEvents {
  /** Status or progress. */
  change: Job;
  /** Status only, as QMP's JOB_STATUS_CHANGE. */
  status: Job;
}

export class Job {
  readonly id: string;
  readonly type: JobType;
  /** Tag of the snapshot, or name of the disk. */
  readonly tag: string;
  /** False: stays in the list after its end until it is dismissed. */
  readonly autoDismiss: boolean;
  /** The guest runs meanwhile. */
  readonly isBackground: boolean;
  readonly #abort = new AbortController();
  readonly #tell: (event: 'change' | 'status', job: Job) => void;
  #status: JobStatus = 'created';
  #currentBytes = 0;
  #totalBytes = 0;
  #error: Error | undefined;
  /** Bytes a second at most; 0: no limit. Only streams look at it. */
  speed = 0;
  #resumed: Promise<void> = Promise.resolve();
  #resume: () => void = () => {};
  #resumedNs = 0;
  #stoodStillNs = 0;

  constructor(
    {
      id,
      type,
      tag,
      autoDismiss,
      isBackground,
    }: Pick<Job, 'id' | 'type' | 'tag' | 'autoDismiss' | 'isBackground'>,
    tell: (event: 'change' | 'status', job: Job) => void,
  ) {
    this.id = id;
    this.type = type;
    this.tag = tag;
    this.autoDismiss = autoDismiss;
    this.isBackground = isBackground;
    this.#tell = tell;
  }

  get status(): JobStatus {
    return this.#status;
  }
  /** Bytes of VM state (or of the disk) done, shared ones included. */
  get currentBytes(): number {
    return this.#currentBytes;
  }
  /** Bytes of VM state in all; 0 as long as it is not known. */
  get totalBytes(): number {
    return this.#totalBytes;
  }
  /** Why it failed; after a cancel, that it was cancelled. */
  get error(): Error | undefined {
    return this.#error;
  }
  get isOver(): boolean {
    return this.#status === 'concluded' || this.#status === 'null';
  }
  /**
   * Host ns from when the work was begun to the guest's next instruction, and of that, while it executed none; 0: it has not gone
   * on yet.
   */
  get resumedNs(): number {
    return this.#resumedNs;
  }
  get stoodStillNs(): number {
    return this.#stoodStillNs;
  }
  /** For whoever does the work. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** What was done is undone. Comes too late in the last step; then the job succeeds. */
  cancel(): void {
    if (this.isOver || this.#status === 'aborting') return;
    if (this.#status !== 'pending') this.#become('aborting');
    this.#abort.abort();
    this.#resume();
  }

  /** By a user. Only work that looks at it stands still: see {@link untilResumed}. */
  pause(): void {
    if (this.#status !== 'running') return;
    this.#resumed = new Promise((resolve) => {
      this.#resume = resolve;
    });
    this.#become('paused');
  }

  resume(): void {
    if (this.#status !== 'paused') return;
    this.#become('running');
    this.#resume();
  }

  // ---- for whoever does the work

  /** At once, unless the job is paused. */
  untilResumed(): Promise<void> {
    return this.#status === 'paused' ? this.#resumed : Promise.resolve();
  }

  start(): void {
    this.#become('running');
  }

  progress(currentBytes: number, totalBytes: number): void {
    this.#currentBytes = currentBytes;
    this.#totalBytes = totalBytes;
    this.#tell('change', this);
  }

  /** The work is done but for the last step. */
  wait(): void {
    this.#become('waiting');
  }

  guestResumed(resumedNs: number, stoodStillNs: number): void {
    this.#resumedNs = resumedNs;
    this.#stoodStillNs = stoodStillNs;
    if (traceResumed.enabled) traceResumed.emit(this.type, this.tag, resumedNs, stoodStillNs);
  }

  /** The last step: cannot be cancelled any more. */
  pend(): void {
    if (this.#status === 'running') this.wait();
    this.#become('pending');
  }

  conclude(error?: unknown): void {
    if (error !== undefined) {
      this.#error = error instanceof Error ? error : new Error(String(error));
      if (this.#status !== 'aborting') this.#become('aborting');
    }
    this.#become('concluded');
  }

  /** Called by {@link Jobs.dismiss}. */
  forget(): void {
    this.#become('null');
  }

  #become(status: JobStatus): void {
    if (this.#status === status) return;
    this.#status = status;
    this.#tell('status', this);
    this.#tell('change', this);
  }
}

export interface JobOptions {
  /** Default: type and a number. */
  readonly id?: string;
  /** Default true. */
  readonly autoDismiss?: boolean;
  /** Default false. */
  readonly isBackground?: boolean;
}

export class Jobs {
  readonly #jobs = new Map<string, Job>();
  readonly #events = new Emitter<JobEvents>();
  #count = 0;

  /** In the order in which they began; those that ended and are not dismissed too. */
  list(): readonly Job[] {
    return [...this.#jobs.values()];
  }

  get(id: string): Job | undefined {
    return this.#jobs.get(id);
  }

  /** Returns a function that removes the listener. */
  on<K extends keyof JobEvents>(event: K, listener: (job: Job) => void): () => void {
    return this.#events.on(event, listener as (value: JobEvents[K]) => void);
  }

  create(type: JobType, tag: string, { id, autoDismiss = true, isBackground = false }: JobOptions = {}): Job {
    const name = id ?? `${type}${this.#count++}`;
    if (this.#jobs.has(name)) throw new Error(`Job ID '${name}' already in use`);
    const job = new Job({ id: name, type, tag, autoDismiss, isBackground }, (event, changed) => {
      this.#events.emit(event, changed);
      if (event === 'change' && changed.status === 'concluded' && changed.autoDismiss) this.dismiss(name);
    });
    this.#jobs.set(name, job);
    this.#events.emit('status', job);
    this.#events.emit('change', job);
    return job;
  }

  /** Takes a job that is over off the list; false: there is none of this id, or it is not over. */
  dismiss(id: string): boolean {
    const job = this.#jobs.get(id);
    if (job === undefined || job.status !== 'concluded') return false;
    this.#jobs.delete(id);
    job.forget();
    return true;
  }

  /** `savevm_begin`, `savevm_end` and so on. */
  #trace({ type, tag, currentBytes }: Job, error?: unknown, isEnd = true): void {
    const [begin, end] = TRACES[type];
    if (!isEnd && begin.enabled) begin.emit(tag);
    if (isEnd && end.enabled) end.emit(tag, currentBytes, error === undefined ? '' : String(error));
  }

  /** Runs `work` as a job: status, error and end follow from it. */
  async run<T>(
    type: JobType,
    tag: string,
    options: JobOptions & { readonly signal?: AbortSignal | undefined },
    work: (job: Job) => Promise<T>,
  ): Promise<T> {
    const job = this.create(type, tag, options);
    const cancel = (): void => job.cancel();
    if (options.signal?.aborted) cancel();
    options.signal?.addEventListener('abort', cancel);
    try {
      this.#trace(job, undefined, false);
      if (!job.signal.aborted) job.start();
      const result = await work(job);
      job.pend();
      job.conclude();
      this.#trace(job);
      return result;
    } catch (error) {
      job.conclude(error);
      this.#trace(job, error);
      throw error;
    } finally {
      options.signal?.removeEventListener('abort', cancel);
    }
  }
}
