// Functions for collector=func, good and bad.
let times = 0
let due
let latest = 0

export const seven = () => 7
export const later = async () => 1n << 40n
export const fraction = () => -2.9
export const throws = () => {
  throw new Error('nothing to count')
}
export const hangs = () => {
  for (;;);
}
export const never = () => new Promise(() => {})
export const text = () => 'seven'
export const exits = () => process.exit(3)
export const counts = () => ++times

/** The most milliseconds that one of its turns, a second apart, has come late. */
export const late = () => {
  const now = performance.now()
  due ??= now
  latest = Math.max(latest, Math.round(now - due))
  due += 1000
  return latest
}
