// What an alarm type is: one file that says what it needs and what it does with a
// message; and one line in index.ts. Its export's name is the word on the command
// line: `--alarm "NAME TYPE:ARGUMENT"`.

export interface AlarmType {
  /** `cmd:COMMAND` */
  syntax: string
  help: string
  /** What the argument lacks, or null. */
  needs(argument: string): string | null
  open(argument: string, surroundings: Surroundings): Action
}

export interface Action {
  /**
   * Takes its time, but not the event loop's; one message at a time. What it throws or rejects with is told once.
   * @param deadline aborts when its time is over: it is to end what it has begun.
   */
  raise(message: string, deadline: AbortSignal): void | Promise<void>
  /** How long `raise` may take, where it is not the usual. */
  patienceMs?: number
  /** The master ends. */
  close?(): void
}

/** What the types may ask of the master. */
export interface Surroundings {
  /** Has the processes that listen to signal `number` called; how many there were. */
  signal(number: number, message: string): number
}

export function defineAlarm(type: AlarmType): AlarmType {
  return type
}
