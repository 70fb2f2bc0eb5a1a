// The master's and the workers' own lines, on stderr as uWSGI writes them:
// operators grep for these words.

process.stderr.on('error', () => {}) // whoever read our log has gone; we stay

export function log(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** With the time before it, as uWSGI's master writes some of its lines. */
export function logVerbose(line: string): void {
  log(`${uwsgiTime(new Date())} - ${line}`)
}

/** `Sat Nov 21 01:16:21 2026` */
export function uwsgiTime(date: Date): string {
  const [day, month, number, year] = date.toDateString().split(' ')
  return `${day} ${month} ${number} ${date.toTimeString().slice(0, 8)} ${year}`
}
