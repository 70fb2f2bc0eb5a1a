// The master's and the workers' own lines, on stderr as uWSGI writes them:
// operators grep for these words.

process.stderr.on('error', () => {}) // whoever read our log has gone; we stay

export function log(line: string): void {
  process.stderr.write(`${line}\n`)
}
