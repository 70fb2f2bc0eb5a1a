// A reporter for node:test that writes one line for each test skipped or left to do:
// its title and the reason. scripts/test.mjs prints them last.

export default async function* skipped(events) {
  for await (const { type, data } of events) {
    if (type !== 'test:pass') continue
    const reason = data.skip ?? data.todo
    if (reason !== undefined && reason !== false)
      yield `${data.name}: ${reason === true ? 'no reason given' : reason}\n`
  }
}
