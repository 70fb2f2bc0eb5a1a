// The master's and the workers' own lines, on stderr as uWSGI writes them:
// operators grep for these words.

process.stderr.on('error', () => {}) // whoever read our log has gone; we stay

let ear: (line: string) => void = () => {}

/** `hear` gets every line that this process logs from now on; for --log-alarm. */
export function onLog(hear: (line: string) => void): void {
  ear = hear
}

export function log(line: string): void {
  logUnheard(line)
  ear(line)
}

/** For the lines that alarms write: they must not raise alarms. */
export function logUnheard(line: string): void {
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

/** Text from outside as one line: it cannot pass for other lines of the log. A line end at its end is left out. */
export function oneLine(text: string): string {
  return text.replace(/\r?\n$/, '').replace(/[^\P{Cc}\t]|[\u2028\u2029]/gu, escaped)
}

function escaped(character: string): string {
  const names: Record<string, string> = { '\n': '\\n', '\r': '\\r' }
  return names[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
