/** One thing that was looked at, as `doctor`, `status` and the watch tell of it. */
export interface Finding {
  readonly check: string;
  readonly state: 'ok' | 'warning' | 'fault';
  readonly says: string;
  readonly remedy?: string;
}
