/* A model of how a cache changes: cache_change.cpp below those who call it (cache.cpp,
 * cache_evict.cpp, Guard in lock.hpp), and beside them readers without a lock
 * (Cache::Read), for spin. They work for ever; two deaths, before any store; whoever
 * died comes back in its thread slot, settles what it finds there, and works on.
 *
 *   spin -a cache_change.pml && cc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m1000000
 *
 * What others can see is a step of its own: one store, or one load without a lock.
 * What nobody alive can see follows at once, but a death may come before each store.
 * Each of -DSTILL, -DLATE, -DFORGETS, -DHASTY, -DBLIND and -DSTUCK breaks the protocol
 * in one place, and must be found. -DITEMS=2 has chains of two, -DSTRIPES=2 two chains;
 * with -DWRITERS=3 everybody writes and reads.
 *
 * Left out: the lock engine (locks/owner_word.pml); memory that is seen out of order;
 * the heap (any item may be the next to go); bitmap mode, stores, expiry, crowded
 * chains; that only one at a time settles.
 *
 * For fewer states: a reader whose sequence has moved begins anew at once, for it will
 * not believe what it reads till it looks; a slot that nobody will believe is emptied;
 * and slots change names, so that a thread's spare is called what it was first. */

#ifndef ITEMS
#define ITEMS 1
#endif
#ifndef STRIPES
#define STRIPES 1 /* each with one bucket */
#endif
#ifndef WRITERS
#define WRITERS 2 /* the others only read */
#endif
#define READS(process) (process >= WRITERS || WRITERS == PROCESSES)
#ifndef PROCESSES
#define PROCESSES 3
#endif
#ifndef CRASHES
#define CRASHES 2
#endif

#define KEYS 2
#define SLOTS (ITEMS + WRITERS)
#define STRIPE(k) (k % STRIPES) /* of key k; also its bucket, and its lock */
#define POOL STRIPES            /* Cache::PoolLock */

/* Cache::LinkAt */
#define AFTER(slot) (STRIPES + slot - 1)
#define HEAD (STRIPES + SLOTS)
#define MARK (STRIPES + SLOTS + 1)

byte word[STRIPES + 1];  /* the engine's: 0, the holder + 1, or ORPHAN */
byte owner[STRIPES + 1]; /* LockRecord::owner: thread + 1 */
byte count[STRIPES + 1]; /* Cache::CountBehind */
byte link[STRIPES + SLOTS + 2];
byte key[SLOTS + 1];     /* k + 1 */
byte value[SLOTS + 1];
#define ORPHAN 255
#ifdef STUCK
#define FREE(lock) (word[lock] == 0)
#else
#define FREE(lock) (word[lock] == 0 || word[lock] == ORPHAN)
#endif
#define VALUE(k, thread) (1 + k * WRITERS + thread)

/* Cell, by thread; the first seven are its Intent. */
byte armed[PROCESSES], which[PROCESSES], expected[PROCESSES], desired[PROCESSES];
byte then_spare[PROCESSES], then_reserved[PROCESSES], then_count[PROCESSES];
byte spare[PROCESSES], reserved[PROCESSES];

/* What only the model knows. */
byte truth[KEYS];       /* the value whose link was stored last, 0 = none */
byte reads[PROCESSES];  /* what a reader without a lock does next: key WANTED is as good as the other */
byte finds[PROCESSES];  /* the slot where it is; then the value it has found */
byte may[PROCESSES];    /* bits: the values of that key since it began */
#define WANTED 0
#define KEY 1
#define NEXT 2
#define BYTES 3
#define LOOK_AGAIN 4
byte busy, gone, crashes; /* how many are at work, have ended for good, have died */
hidden byte i, n, s;
hidden int places;

inline Becomes(k_, value_) {
  truth[k_] = value_;
  for (i : 0 .. PROCESSES - 1) {
    if :: k_ == WANTED && reads[i] != 0 -> may[i] = may[i] | (1 << value_) :: else fi
  }
  i = 0
}

inline SequenceMoves() {
#ifdef BLIND
  skip
#else
  for (i : 0 .. PROCESSES - 1) {
    if :: STRIPE(WANTED) == l -> reads[i] = 0; finds[i] = 0; may[i] = 0 :: else fi
  }
  i = 0
#endif
}

#if defined(BLIND) || defined(STILL)
#define EMPTIES 0 /* somebody may believe it yet */
#else
#define EMPTIES 1
#endif

inline Empty(slot_) {
  s = slot_;
  if :: s != 0 && EMPTIES -> key[s] = 0; value[s] = 0; link[AFTER(s)] = 0 :: else fi;
  s = 0
}

/* True whenever a lock is free: I3, I4, and what was acknowledged is there. */
inline Whole(lock) {
  n = 0;
  s = (lock == POOL -> link[HEAD] : link[lock]);
  do
  :: s != 0 ->
     n++;
     assert(n <= ITEMS && (lock == POOL || key[s] != 0));
     assert(lock == POOL || truth[key[s] - 1] == value[s] && STRIPE((key[s] - 1)) == lock);
     s = link[AFTER(s)]
  :: else -> break
  od;
  assert(n == count[lock]);
  for (i : 0 .. KEYS - 1) {
    if :: lock != POOL && STRIPE(i) == lock && truth[i] != 0 -> n-- :: else fi
  }
  assert(lock == POOL || n == 0);
  n = 0; i = 0
}

inline Seen(slot_) {
  assert(1 <= slot_ && slot_ <= SLOTS && (places & (1 << slot_)) == 0);
  places = places | (1 << slot_)
}

/* True whenever nobody is at work: I2, I4, I6 (check.cpp). */
inline Quiet() {
  places = 1; n = 0;
  for (i : 0 .. STRIPES) {
    s = (i == POOL -> link[HEAD] : link[i]);
    do
    :: s != 0 -> Seen(s); n++; s = link[AFTER(s)]
    :: else -> break
    od
  }
  for (i : link[MARK] + 1 .. ITEMS) { Seen(i); n++ }
  for (i : 0 .. WRITERS - 1) {
    s = spare[i];
    Seen(s);
    s = reserved[i];
    if :: s != 0 -> Seen(s); n++ :: else fi;
    assert(armed[i] == 0)
  }
  assert(n == ITEMS && places == (1 << (SLOTS + 1)) - 1);
  for (i : 0 .. STRIPES) { assert((word[i] == 0 || word[i] == ORPHAN) && owner[i] == 0) }
  places = 0; n = 0; s = 0; i = 0
}

/* Before a store. */
#define OR_DEATH if :: skip :: crashes < CRASHES -> Die(); goto settle fi

inline Die() { /* the kernel */
  d_step {
    crashes++;
    for (i : 0 .. STRIPES) { if :: word[i] == me + 1 -> word[i] = ORPHAN :: else fi }
    i = 0; k = 0; l = 0; then = 0; whose = 0; repairs = 0; at = 0; found = 0
  }
}

/* A call is a goto, and `then` says what a lock is wanted for, or what comes after it. */
#define GO_ON 0
#define PUBLISH 1
#define TAKE_SLOT 2
#define EVICT 3
#define REMOVE 4
#define COUNT 5
#define GIVE_BACK 6
#define READ 7
#define SETTLE 8
#define SETTLE_BACK 9
#define RESERVE 10
#define VICTIM 11
#define FORGO 12

inline Leave() {
  k = 0; l = 0; then = 0;
  d_step {
    if :: me < WRITERS -> Empty(spare[me]) :: else fi;
    busy--;
    if :: busy == 0 -> Quiet() :: else fi
  }
  goto idle
}

inline Forgo() { /* Cache::ReturnReserved, GiveBack */
  k = 0;
  if
  :: reserved[me] == 0 -> Leave()
  :: else -> l = POOL; then = GIVE_BACK; goto guard
  fi
}

inline Reserve() { /* Cache::Reserve */
  if
  :: reserved[me] != 0 -> l = STRIPE(k); then = PUBLISH; goto guard
  :: else -> l = POOL; then = TAKE_SLOT; goto guard
  fi
}

inline Find() { /* Cache::Find. REQUIRES: the stripe's lock */
  at = STRIPE(k);
  do
  :: link[at] == 0 || key[link[at]] == k + 1 -> break
  :: else -> at = AFTER(link[at])
  od;
  found = link[at]
}

inline Arm(expected_, desired_, spare_, reserved_, count_) { /* Cache::Apply */
  OR_DEATH;
  d_step {
    which[me] = at; expected[me] = expected_; desired[me] = desired_;
    then_spare[me] = spare_; then_reserved[me] = reserved_; then_count[me] = count_;
#ifndef LATE
    armed[me] = l + 1;
#endif
    whose = me; at = 0; found = 0
  }
}

inline Link() { /* Cache::Apply */
  OR_DEATH;
  d_step {
    link[which[me]] = desired[me];
    s = expected[me];
    n = desired[me];
    if
    :: l != POOL && n == spare[me] -> assert(s == 0 || key[s] == key[n]); Becomes((key[n] - 1), value[n])
    :: l != POOL && n != spare[me] -> Becomes((key[s] - 1), 0)
    :: else
    fi;
    s = 0; n = 0
  }
#ifdef LATE
  OR_DEATH;
  armed[me] = l + 1;
#endif
}

inline Finish() { /* Cache::Finish */
  OR_DEATH;
#ifdef FORGETS
  if
  :: repairs
  :: else -> spare[whose] = then_spare[whose]
  fi;
#else
  spare[whose] = then_spare[whose];
#endif
  OR_DEATH;
  reserved[whose] = then_reserved[whose];
  OR_DEATH;
  count[l] = then_count[whose]
}

/* A thread's new spare and what it has just published change names. */
inline Rename() {
  n = ITEMS + 1 + whose;
  s = spare[whose];
  if
  :: l != POOL && s != n && s != 0 ->
     spare[whose] = n;
     link[which[whose]] = s;
     key[0] = key[s]; key[s] = key[n]; key[n] = key[0]; key[0] = 0;
     value[0] = value[s]; value[s] = value[n]; value[n] = value[0]; value[0] = 0;
     i = link[AFTER(s)]; link[AFTER(s)] = link[AFTER(n)]; link[AFTER(n)] = i;
     for (i : 0 .. PROCESSES - 1) {
       if
       :: reads[i] == LOOK_AGAIN || finds[i] != s && finds[i] != n
       :: else -> finds[i] = s + n - finds[i]
       fi
     }
  :: else
  fi;
  n = 0; s = 0; i = 0
}

inline Disarm() { /* Cache::Finish, Repair */
  OR_DEATH;
  d_step {
    if
    :: EMPTIES && which[whose] == HEAD && link[HEAD] == desired[whose] && then_reserved[whose] != 0 ->
       link[AFTER(then_reserved[whose])] = 0
    :: else
    fi;
    Rename();
    armed[whose] = 0; which[whose] = 0; expected[whose] = 0; desired[whose] = 0;
    then_spare[whose] = 0; then_reserved[whose] = 0; then_count[whose] = 0;
    whose = 0
  }
}

inline LetGo() { /* Guard::Release */
  OR_DEATH;
  at = 0; found = 0;
  owner[l] = 0;
  goto unlock
}

inline TakeSlot() { /* Cache::TakeSlot */
  if
  :: link[HEAD] != 0 ->
     at = HEAD;
     found = link[HEAD];
     Arm(found, link[AFTER(found)], spare[me], found, count[POOL] - 1)
  :: link[HEAD] == 0 && link[MARK] < ITEMS ->
     at = MARK;
     found = link[MARK];
     Arm(found, found + 1, spare[me], found + 1, count[POOL])
  :: link[HEAD] == 0 && link[MARK] == ITEMS -> then = VICTIM; LetGo()
  fi;
  then = RESERVE;
  Link(); Finish(); Disarm(); LetGo()
}

inline Unlink() { /* Cache::Unlink */
  Arm(found, link[AFTER(found)], spare[me], found, count[l] - 1);
  goto change
}

inline Evict() { /* Cache::Evict, Locate */
  at = l;
  do
  :: link[at] != 0 -> at = AFTER(link[at])
  :: break
  od;
  found = link[at];
  then = RESERVE;
  if
  :: found != 0 -> Unlink()
  :: found == 0 -> LetGo() /* it has gone, or was used of late */
  fi
}

inline Remove() { /* Cache::Remove, Pop, RemoveWhere */
  Find();
  then = FORGO;
  if
  :: found != 0 -> Unlink()
  :: else -> LetGo()
  fi
}

inline Publish() { /* Cache::Publish */
  Find();
  if
  :: then = FORGO; LetGo() /* Objection: kExists, kNotFound, kChanged */
  :: found == 0 && reserved[me] == 0 -> then = RESERVE; LetGo()
  :: found != 0 || reserved[me] != 0 -> at = 0; found = 0; goto publish
  fi
}

proctype Process(byte me) {
  byte k, l, then; /* at work on this key, under this lock */
  byte whose;      /* intent it finishes, */
  bit repairs;     /* and that one is dead */
  byte at, found;  /* within a step only */

idle:
  if
  :: atomic {
       me < WRITERS && reads[me] == 0 -> busy++;
       if :: k = 0 :: k = 1 fi;
       if
       :: value[spare[me]] = VALUE(k, me); goto fill
       :: reserved[me] == 0 -> l = STRIPE(k); then = REMOVE; goto guard
       :: l = STRIPE(k); then = COUNT; goto guard
       :: reserved[me] != 0 -> Forgo() /* as Remove and Sweep do first */
       fi
     }
  :: atomic { me < WRITERS && reads[me] == 0 && crashes < CRASHES -> busy++; Die(); goto settle }
  :: atomic { reads[me] == 0 -> gone++; goto ended }
  :: atomic { READS(me) && reads[me] == 0 -> busy++; k = WANTED; l = STRIPE(k); then = READ; goto guard }

     /* Cache::Read, Find, without a lock */
  :: d_step {
       READS(me) && reads[me] == 0 ->
       may[me] = 1 << truth[WANTED];
       finds[me] = link[STRIPE(WANTED)];
       reads[me] = (finds[me] != 0 -> KEY : LOOK_AGAIN)
     }
  :: d_step { reads[me] == KEY -> reads[me] = (key[finds[me]] == WANTED + 1 -> BYTES : NEXT) }
  :: d_step {
       reads[me] == NEXT ->
       finds[me] = link[AFTER(finds[me])];
       reads[me] = (finds[me] != 0 -> KEY : LOOK_AGAIN)
     }
  :: d_step { reads[me] == BYTES -> finds[me] = value[finds[me]]; reads[me] = LOOK_AGAIN }
  :: d_step {
       reads[me] == LOOK_AGAIN ->
       assert(may[me] & (1 << finds[me]));
       reads[me] = 0; finds[me] = 0; may[me] = 0
     }
  fi;
  goto idle;

fill: /* Cache::Publish: the spare's last store. Begin: its first, above */
  atomic { OR_DEATH; key[spare[me]] = k + 1; l = STRIPE(k); then = PUBLISH; goto guard }

guard: /* Guard::Guard, Wait */
  if
  :: atomic {
       FREE(l) && owner[l] == 0 -> word[l] = me + 1;
       OR_DEATH;
       owner[l] = me + 1; goto begin
     }
  :: atomic {
       FREE(l) && owner[l] != 0 -> word[l] = me + 1;
       whose = owner[l] - 1;
#ifdef HASTY
       owner[l] = me + 1;
#endif
       if /* Cache::Repair */
       :: armed[whose] != l + 1 -> whose = 0; goto name
       :: armed[whose] == l + 1 && link[which[whose]] == desired[whose] ->
          repairs = 1;
          Finish();
          if
          :: l == POOL -> Disarm(); repairs = 0; goto name
          :: else -> goto sequence
          fi
       :: armed[whose] == l + 1 && link[which[whose]] != desired[whose] -> Disarm(); goto name
       fi
     }
  :: atomic {
       !FREE(l) && gone == 0 && then != SETTLE && then != SETTLE_BACK ->
       if /* kBusy; once somebody has ended, all wait: who waits in vain is found */
       :: then == TAKE_SLOT -> Forgo()
       :: then == EVICT -> Reserve()
       :: then != TAKE_SLOT && then != EVICT -> Leave()
       fi
     }
  :: atomic { crashes < CRASHES -> Die(); goto settle }
  fi;

name: /* Guard::Guard, after the repair */
  atomic { OR_DEATH; owner[l] = me + 1; goto begin }

begin: /* what the lock is wanted for */
  atomic {
    if
    :: then == PUBLISH -> Publish()
    :: then == TAKE_SLOT -> TakeSlot()
    :: then == EVICT -> Evict()
    :: then == REMOVE -> Remove()
    :: then == COUNT -> goto count_
    :: then == GIVE_BACK || then == SETTLE_BACK -> goto give_back
    :: then == READ -> Find(); assert(truth[k] == (found != 0 -> value[found] : 0)); then = GO_ON; LetGo()
    :: then == SETTLE -> LetGo()
    fi
  }

publish: /* Cache::Publish */
  atomic {
    OR_DEATH;
    Find();
    link[AFTER(spare[me])] = (found != 0 -> link[AFTER(found)] : 0);
    then = FORGO;
    if
    :: found != 0 -> Arm(found, spare[me], found, reserved[me], count[l])
    :: else -> Arm(0, spare[me], reserved[me], 0, count[l] + 1)
    fi;
    goto change
  }

count_: /* Cache::Calculate, Touch: in place */
  atomic {
    OR_DEATH;
    Find();
    d_step { if :: found != 0 -> value[found] = VALUE(k, me); Becomes(k, VALUE(k, me)) :: else fi }
    then = GO_ON;
    LetGo()
  }

give_back: /* Cache::PushReserved */
  atomic {
    OR_DEATH;
    link[AFTER(reserved[me])] = link[HEAD];
    at = HEAD; found = link[HEAD];
    Arm(found, reserved[me], spare[me], 0, count[POOL] + 1);
    then = GO_ON;
    Link(); Finish(); Disarm(); LetGo()
  }

change: /* Cache::Apply, Finish: the link is stored, */
  atomic { Link(); Finish(); goto sequence }
sequence: /* and the sequence moves */
  atomic {
    OR_DEATH;
#ifndef STILL
    d_step { SequenceMoves(); Empty(expected[whose]); n = 0 }
#endif
    Disarm();
    if
    :: repairs -> repairs = 0; goto name
    :: else -> LetGo()
    fi
  }

unlock: /* Guard::Release */
  atomic {
    OR_DEATH;
    d_step { assert(word[l] == me + 1); word[l] = 0; Whole(l) }
    l = 0;
    if
    :: then == RESERVE -> Reserve()
    :: then == VICTIM -> then = 0; goto victim
    :: then == FORGO -> Forgo()
    :: then == SETTLE -> then = 0; goto settle
    :: then == GO_ON -> Leave()
    fi
  }

victim: /* Cache::NextToGo, BucketOf: a guess at the stripe, without its lock */
  atomic {
    if
    :: Forgo() /* kFull */
    :: select(l : 0 .. STRIPES - 1); then = EVICT; goto guard
    fi
  }

settle: /* ProcessTable::Reclaim, Cache::Settle: whoever comes into the dead one's thread slot */
  atomic {
    do
    :: owner[l] == me + 1 || l == POOL -> break
    :: else -> l++
    od;
    if
    :: owner[l] == me + 1 -> then = SETTLE; goto guard
    :: owner[l] != me + 1 && reserved[me] == 0 -> Leave()
    :: owner[l] != me + 1 && reserved[me] != 0 -> then = SETTLE_BACK; goto guard
    fi
  }

ended:
}

init {
  atomic {
    i = 0;
    do
    :: i < PROCESSES -> spare[i] = (i < WRITERS -> ITEMS + 1 + i : 0); run Process(i); i++
    :: else -> break
    od;
    i = 0
  }
}
