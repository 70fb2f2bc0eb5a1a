// Every error that users can meet, said once: the code they match on, and a
// sentence that names the thing and the way out.

import { format } from 'node:util'

const messages = {
  PLATFORM: 'uwshm runs on linux x64 for now; this is %s',
  OPTION_UNKNOWN: 'unknown option %s; %s',
  OPTION_LATER: '%s is an option of uWSGI that is not built here yet; leave it out',
  OPTION_VALUE: '%s: %s is not %s',
  OPTION_NEEDS_VALUE: '%s needs a value: %s',
  KEY_UNKNOWN: '%s: unknown key %s; %s',
  KEY_LATER: '%s: %s is a key of uWSGI that is not built here yet; leave it out',
  KEY_NEEDED: '%s: %s is missing; write it like %s',
  CACHE_TWICE: 'two caches are named %s; give each its own name',
  STORE_TWICE: 'caches %s and %s have one store, %s; give each its own file',
  STORE_BAD: 'cache %s: its store %s cannot be used: %s; name a file of your own, in a folder that is there',
  STORE_IN_USE: 'cache %s: its store %s belongs to a running instance (pid %s); end that, or name another file',
  STORE_NO_ROOM: 'cache %s: no room for the %s bytes of its store: %s; make room there, or lower items or blocksize',
  APP_NEEDED: 'no application named; write `uwshm [options] app.ts`, see `uwshm --help`',
  APP_TWICE: 'one application at a time, not %s and %s; arguments for the application come after --',
  APP_MISSING: 'no application at %s; check the path, and --chdir if it is given',
  NO_DIRECTORY: '--chdir %s: %s; name a directory that can be entered',
  TYPESCRIPT:
    '%s is TypeScript and this Node cannot run it; npm install tsx beside it, use Node 22.18 or later, or compile it',
  ADDRESS_TAKEN: 'cannot listen on %s: another program does; end it or choose another address',
  ADDRESS_BAD: 'cannot listen on %s: %s; choose another address',
  STATS_UNREADABLE: 'cannot read statistics from %s: %s; give the address that --stats of the running master names',
  FILE_UNREADABLE: '%s: %s cannot be read: %s; name a file, or a cache that is there and a file',
  NOT_ATTACHED: 'no uwshm master here: start the application with `uwshm app.ts`, or call uwshm.create() first',
  ALREADY_ATTACHED: 'this process is already attached to a uwshm instance; one process has one',
  SEGMENT_FOREIGN: 'the %s segment is not one of ours (%s); start the master again',
  SEGMENT_LAYOUT:
    'the %s segment has layout %s, this build reads %s; restart master and workers with one version of uwshm',
  SEGMENT_PID_NAMESPACE:
    'this process lives in another PID namespace than its master; shared locks cannot work across them: start both in one container',
  SEGMENT_TOO_LARGE: '%s needs %s bytes and this machine has %s; lower items or blocksize',
  NO_MEMORY: 'cannot make the %s segment of %s bytes: %s',
  OUT_OF_MEMORY: 'cache %s: this process has no memory left for a copy; nothing was changed',
  NO_THREAD: 'no native thread could be started for %s; raise the limit of threads (ulimit -u, pids.max)',
  TOO_MANY_PROCESSES: 'all %s process slots are taken; raise --max-processes',
  TOO_MANY_THREADS: 'all %s thread slots are taken; raise --max-processes',
  UNKNOWN_SOCKET: 'no listening socket %s in this process; its master gave it %s, see --http-socket',
  UNKNOWN_CACHE: 'no cache named %s; known: %s',
  UNKNOWN_METRIC: 'no metric named %s; %s',
  METRICS_OFF: 'metrics are off: %s cannot be had; start with --enable-metrics',
  METRIC_COMPUTED: 'metric %s is fed by uwshm itself, so it can only be read; define one of your own',
  METRIC_EXISTS: 'there is a metric named %s already, and it is no %s; choose another name',
  METRIC_NEEDS: 'metric %s needs %s, and there is none before it; define that one first',
  METRICS_FULL: 'no room for metric %s; raise --metrics-max',
  METRICS_DIR: '--metrics-dir %s: %s; name a directory that can be written',
  UNKNOWN_COLLECTOR: 'metric %s: no collector named %s; known: %s',
  COLLECTOR_PTR:
    'metric %s: collector=ptr reads shared areas, which are not built here yet; use collector=file or func',
  COLLECTOR_NEEDS: 'metric %s: collector=%s needs %s',
  UNKNOWN_THRESHOLD_METRIC: '--metric-threshold: no metric named %s; %s',
  THRESHOLD_RESET: '--metric-threshold of %s: uwshm feeds that metric itself, reset= would not last; leave it out',
  ALARM_SYNTAX: "--alarm '%s' has no name and type; write it like --alarm 'NAME TYPE:ARGUMENT', see --alarm-list",
  ALARM_TWICE: 'two alarms are named %s; give each its own name',
  ALARM_NEEDS: 'alarm %s: %s: needs %s',
  UNKNOWN_ALARM_TYPE: 'alarm %s: no type named %s; known: %s',
  UNKNOWN_ALARM: "%s names alarm %s, and there is none; known: %s; define it with --alarm '%s TYPE:ARGUMENT'",
  ALARM_FD: "--alarm-fd '%s': %s; write it like --alarm-fd 'ALARM FD:BYTES MESSAGE', FD a pipe or an eventfd",
  LOG_ALARM: "%s '%s': %s; write it like 'ALARM,ALARM REGEXP', a regular expression of JavaScript",
  SIGNAL_TAKEN: 'another thread of this process listens to signal %s already; listen in one thread only',
  FTOK: '--ftok %s: %s; name a file that exists',
  LOCKS_IN_USE:
    'the semaphores of that --ftok belong to a running instance, or to another program; give each instance a file of its own',
  LOCK_BROKEN: '%s: its lock has been removed from outside (ipcrm?); start the master again',
  UNKNOWN_LOCK_ENGINE: 'no lock engine named %s; known: %s',
  CACHE_CORRUPT: 'cache %s failed its check (%s); clear it or restart',
  BUSY: 'cache %s: a lock was held for over %s ms by pid %s, which lives but does not go on; try again',
  LOCK_NUMBER: 'no user lock %s: there are 0 to %s; raise --locks',
  LOCK_NAME: 'the name of a lock has 1 to 127 bytes; %s has not',
  LOCK_KIND: 'lock %s was made fair, plain or read-write otherwise; use one kind everywhere',
  LOCKS_FULL: 'no room for lock %s: all %s locks are in use; use fewer names, or raise --locks-max',
  LOCK_HELD: 'lock %s is held by this very caller, which would wait for itself; unlock it first, or make it recursive',
  LOCK_NOT_OWNER: 'lock %s is not held by this caller but by pid %s (0: nobody); only who took it lets go of it',
  LOCK_TIMEOUT: 'lock %s was not free within %s ms; try again, or allow it more time',
  LOCK_WAITERS: 'lock %s: all %s places for those who wait are taken; let fewer wait, or raise --locks-max',
  LOCK_BUSY: 'lock %s: a process stands still in the middle of a change of its queue; resume or end that process',
  DEADLOCK: 'lock %s: to wait for it would be for ever, in a circle that the master logged; take locks in one order',
  LEASES_FULL: 'all %s places for computations are taken; let fewer run at a time, or raise --locks-max',
  COMPUTE_TIMEOUT: 'cache %s: the value of %s was not there within %s ms; allow it more time, or take a stale one',
  COMPUTE_CIRCLE: 'cache %s: to compute %s its own value is needed; compute the parts of it under keys of their own',
  EXISTS: 'cache %s: the key exists already; use update to replace it',
  CHANGED: 'cache %s: the value is not the expected one; read it again',
  FULL: 'cache %s is full; raise items (with bitmap blocks), or let old ones go with purge_lru=1',
  CROWDED: 'cache %s: too many keys share one chain; use hash=keyed, or raise hashsize',
  KEY_EMPTY: 'cache %s: a key has at least one byte',
  KEY_TOO_LONG: 'cache %s: the key is longer than its keysize; raise keysize',
  VALUE_TOO_LARGE: 'cache %s: the value is larger than it may be; raise blocksize, or blocks with bitmap=1',
  NOT_A_NUMBER: 'cache %s: the item is no counter; counters are 8 bytes, made by inc or dec',
  DIVISION: 'cache %s: a division by 0, or of -2^63 by -1, has no result; the counter stays as it is',
  ABSENT: 'cache %s: no such key',
} as const

export type Code = keyof typeof messages

/** The one class of errors thrown by uwshm; `code` says which. */
export class UwsgiError extends Error {
  override name = 'UwsgiError'
  readonly code: Code

  constructor(code: Code, ...about: unknown[]) {
    super(format(messages[code], ...about))
    this.code = code
  }
}
