// Where this worker's requests in flight are noted, for those who look from
// outside. Node serves any number at a time; as many as there are cores can be
// looked at, the others are served and counted all the same.
//
// What a request tells at once is its first line and its addresses, so that one
// which keeps the event loop busy can be found. Putting its headers together
// costs more than all the rest, so that is done for those which are still in
// flight a little later; most are not.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Fault, native } from '../native.ts'

const describedAfterMs = 10

/** One request in flight. Places are used again: a request leaves no garbage here. */
export interface Place {
  /** -1: none was free. */
  readonly core: number
  startedAt: number
  /** Null: the place is free, or what came could not be read. */
  request: IncomingMessage | null
  /** Null: the request has taken over its socket. */
  response: ServerResponse | null
  addresses: string
  isDescribed: boolean
  /** The one that came after it on its connection. */
  next: Place | null
}

const places: Place[] = []
const freeCores: Place[] = []
const freeOthers: Place[] = []

let isAwaitingLook = false
const look = setTimeout(describeAll, describedAfterMs).unref()

export function openCores(): void {
  for (let core = native.coreCount() - 1; core >= 0; core--) freeCores.push(newPlace(core))
}

export function enter(request: IncomingMessage | null, response: ServerResponse | null, addresses: string): Place {
  const place = freeCores.pop() ?? freeOthers.pop() ?? newPlace(-1)
  place.request = request
  place.response = response
  if (place.core < 0) {
    place.startedAt = native.requestStarted(-1, '')
    return place
  }
  place.addresses = addresses
  place.isDescribed = request === null
  place.startedAt = native.requestStarted(place.core, firstLines(place))
  if (!isAwaitingLook) {
    isAwaitingLook = true
    look.refresh()
  }
  return place
}

/** Whoever dies before this has not served the request. */
export function leave(place: Place, tx: number, fault: Fault): void {
  native.requestEnded(place.core, place.startedAt, tx, fault)
  place.request = null
  place.response = null
  place.next = null
  if (place.core < 0) freeOthers.push(place)
  else freeCores.push(place)
}

/** Responses under way. */
export function running(): ServerResponse[] {
  return places.flatMap(({ response }) => response ?? [])
}

function newPlace(core: number): Place {
  const place: Place = {
    core,
    startedAt: 0.5, // never a small integer, so that V8 keeps one representation for it
    request: null,
    response: null,
    addresses: '',
    isDescribed: true,
    next: null,
  }
  places.push(place)
  return place
}

function describeAll(): void {
  isAwaitingLook = false
  for (const place of places) {
    if (place.core < 0 || place.request === null || place.isDescribed) continue
    place.isDescribed = true
    native.requestHead(place.core, `${firstLines(place)}\n${place.request.rawHeaders.join('\n')}`)
  }
}

function firstLines({ request, addresses }: Place): string {
  if (request === null) return `\n\n\n${addresses}`
  return `${request.method}\n${request.url}\n${request.httpVersion}\n${addresses}`
}
