/** strerror() of Node's system errors, as QEMU prints them. */
import { getSystemErrorMap } from 'node:util';

const TEXT: Readonly<Record<string, string>> = {
  ENOENT: 'No such file or directory',
  EACCES: 'Permission denied',
  EISDIR: 'Is a directory',
  ENOTDIR: 'Not a directory',
  ECONNREFUSED: 'Connection refused',
  EADDRINUSE: 'Address already in use',
  ENOSPC: 'No space left on device',
  EROFS: 'Read-only file system',
  EEXIST: 'File exists',
  EPERM: 'Operation not permitted',
  ENXIO: 'No such device or address',
  EMFILE: 'Too many open files',
  ENAMETOOLONG: 'File name too long',
  ENOTFOUND: 'Name or service not known',
  ENOTSOCK: 'Socket operation on non-socket',
};

export function reasonOf(error: unknown): string {
  const { code, errno, message } = error as { code?: string; errno?: number; message?: string };
  const known = code === undefined ? undefined : TEXT[code];
  if (known !== undefined) return known;
  const system = errno === undefined ? undefined : getSystemErrorMap().get(errno);
  return system?.[1] ?? message ?? String(error);
}
