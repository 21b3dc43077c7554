/** QMP's error replies: a class to branch on (qapi/error.json) and QEMU's words. */
export type QmpErrorClass =
  | 'GenericError'
  | 'CommandNotFound'
  | 'DeviceNotFound'
  | 'DeviceNotActive'
  | 'KVMMissingCap';

export class QmpError extends Error {
  readonly errorClass: QmpErrorClass;

  constructor(message: string, errorClass: QmpErrorClass = 'GenericError') {
    super(message);
    this.name = 'QmpError';
    this.errorClass = errorClass;
  }
}
