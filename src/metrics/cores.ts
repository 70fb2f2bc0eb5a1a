// Where this worker's requests in flight are noted, for those who look from
// outside. Node serves any number at a time; as many as there are cores can be
// looked at, the others are served and counted all the same.
//
// What a request tells at once is its first line and its addresses, so that one
// which keeps the event loop busy can be found. Putting its headers together
// costs more than all the rest, so that is done for those which are still in
// flight a little later; most are not. By then a router may have written another
// url into the request, decoded even; so what the client sent is kept aside.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { log } from '../log.ts'
import { native } from '../native.ts'
import { type Fault, Lines, Row } from './row.ts'

const describedAfterMs = 10
const clockEveryMs = 1000

/** One request in flight. Places are used again: a request leaves no garbage here. */
export interface Place {
  /** -1: none was free. */
  readonly core: number
  startedAt: number
  /** Null: the place is free, or its request has taken over the socket. */
  response: ServerResponse | null
  request: IncomingMessage | null
  method: string
  url: string
  headers: readonly string[]
  /** Of the head, what comes after the url. */
  rest: Lines
  isDescribed: boolean
  /** The one that came after it on its connection. */
  next: Place | null
}

const noHeaders: readonly string[] = []
const noLines = new Lines('')
const places: Place[] = []
const freeCores: Place[] = []
const freeOthers: Place[] = []

let isAwaitingLook = false
const look = setTimeout(describeAll, describedAfterMs).unref()

let row: Row

/** False: this Node cannot be counted in. */
export function openCores(): boolean {
  const lent = native.lendRows()
  if (lent === null) {
    log('this build of node lends no memory to addons: requests are not counted')
    return false
  }
  row = new Row(lent, native.bootMicroseconds)
  for (let core = row.cores - 1; core >= 0; core--) freeCores.push(newPlace(core))
  setInterval(() => row.setClock(), clockEveryMs).unref()
  return true
}

/** `rest` of the head: HTTP version, remote and local addresses, as lines. */
export function enter(request: IncomingMessage, response: ServerResponse, rest: Lines): Place {
  const place = take()
  place.response = response
  place.request = request
  place.method = request.method!
  place.url = request.url!
  place.headers = request.rawHeaders
  place.rest = rest
  place.isDescribed = false
  place.startedAt = row.begin(place.core, place.method, place.url, rest)
  if (!isAwaitingLook) {
    isAwaitingLook = true
    look.refresh()
  }
  return place
}

/** For a request that no response belongs to; null if it could not be read. */
export function enterAlone(request: IncomingMessage | null, rest: Lines): Place {
  const place = take()
  place.startedAt = row.begin(place.core, request?.method ?? '', request?.url ?? '', rest)
  if (request !== null && place.core >= 0) {
    const { method, url, rawHeaders } = request
    native.requestHead(place.core, headOf(method!, url!, rest, rawHeaders))
  }
  return place
}

/** Whoever dies before this has not served the request. */
export function leave(place: Place, tx: number, fault: Fault): void {
  row.end(place.core, place.startedAt, tx, fault)
  place.response = place.request = null
  place.headers = noHeaders
  place.next = null
  if (place.core < 0) freeOthers.push(place)
  else freeCores.push(place)
}

/** Bytes that were written outside any request. */
export function sent(bytes: number): void {
  row.sent(bytes)
}

/** Responses under way. */
export function running(): ServerResponse[] {
  return places.flatMap(({ response }) => response ?? [])
}

/** -1: its request has none, or is over. */
export function coreOf(response: ServerResponse): number {
  return places.find((place) => place.response === response)?.core ?? -1
}

function take(): Place {
  return freeCores.pop() ?? freeOthers.pop() ?? newPlace(-1)
}

function newPlace(core: number): Place {
  const place: Place = {
    core,
    startedAt: 0,
    response: null,
    request: null,
    method: '',
    url: '',
    headers: noHeaders,
    rest: noLines,
    isDescribed: true,
    next: null,
  }
  places.push(place)
  return place
}

function describeAll(): void {
  isAwaitingLook = false
  for (const place of places) {
    const { core, response, method, url, rest, headers } = place
    if (core < 0 || response === null || place.isDescribed) continue
    place.isDescribed = true
    native.requestHead(core, headOf(method, url, rest, headers))
  }
}

function headOf(method: string, url: string, rest: Lines, headers: readonly string[]): string {
  return `${method}\n${url}\n${rest.text}\n${headers.join('\n')}`
}
