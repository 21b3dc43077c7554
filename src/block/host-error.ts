/** What the host says went wrong, in QEMU's words. */
import { BlockError, type BlockErrorCode } from './errors.ts';

const CODES: Record<string, BlockErrorCode> = {
  ENOENT: 'not-found',
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
  EFBIG: 'no-space',
  EROFS: 'read-only',
  EACCES: 'io',
};

/** What strerror says; Node's own messages repeat the call and the path. */
const WORDS: Record<string, string> = {
  ENOENT: 'No such file or directory',
  EACCES: 'Permission denied',
  EPERM: 'Operation not permitted',
  EISDIR: 'Is a directory',
  ENOTDIR: 'Not a directory',
  ENOSPC: 'No space left on device',
  EDQUOT: 'Disk quota exceeded',
  EFBIG: 'File too large',
  EIO: 'Input/output error',
  EROFS: 'Read-only file system',
  EMFILE: 'Too many open files',
  ELOOP: 'Too many levels of symbolic links',
  ENAMETOOLONG: 'File name too long',
  EEXIST: 'File exists',
  EINVAL: 'Invalid argument',
};

/** A host error as a BlockError: `what` is QEMU's sentence without the reason. */
export function hostError(what: string, filename: string, cause: unknown, offset?: number): BlockError {
  if (cause instanceof BlockError) return cause;
  const errno = (cause as { code?: unknown } | null)?.code;
  const name = typeof errno === 'string' ? errno : '';
  const reason = WORDS[name] ?? (cause instanceof Error ? cause.message : String(cause));
  return new BlockError(CODES[name] ?? 'io', `${what}: ${reason}`, {
    file: filename,
    cause,
    ...(offset === undefined ? {} : { offset }),
  });
}
