/* A model of owner_word.hpp with Guard on top (lock.hpp), for spin: three
 * processes take turns for ever, two deaths at any step, whoever died comes back
 * in the same slot under a new name. A stopped process is one that makes no step.
 *
 *   spin -a owner_word.pml && cc -O2 -DSAFETY -o pan pan.c && ./pan -m1000000
 *   spin -a owner_word.pml && cc -O2 -DNFAIR=3 -o pan pan.c && ./pan -a -f -m1000000
 *
 * The first looks for a broken assertion in every state, the second for a run in
 * which a dead owner's lock stays wanted and untaken. Each of -DROB, -DWIPE and
 * -DBLIND breaks the protocol in one place, and must be found.
 *
 * Left out: the queue. Nobody sleeps for long, so a wake-up, surplus or lost,
 * changes only when somebody looks again, and here that may be at any time. */

#define PROCESSES 3
#define CRASHES 2

#define NAME(slot) (generation[slot] * PROCESSES + slot + 1)
#define SLOT(name) ((name - 1) % PROCESSES)

/* What the life mutex and the generation tell (process_table.hpp, IsDead). */
#define DEAD(name) (!alive[SLOT(name)] || NAME(SLOT(name)) != name)

byte word;         /* 0, or the holder's name; `waiting` is its lowest bit */
bit waiting;
byte owner;        /* Guard's record: slot + 1; a name found here is to be repaired */
bit torn;          /* what the lock guards: two numbers that must be equal */

bit alive[PROCESSES], wants[PROCESSES], doomed[PROCESSES], inside[PROCESSES];
byte generation[PROCESSES];
byte crashes;

#define OTHERS_INSIDE(slot) (inside[(slot + 1) % PROCESSES] || inside[(slot + 2) % PROCESSES])

proctype Process(byte slot) {
  byte me, seen;
  bit seen_waiting;
end_born:
  atomic { alive[slot]; me = NAME(slot) }
  {
      do
    :: /* TryLock */
       atomic {
         wants[slot] = 1;
         if :: word == 0 -> word = me; goto taken :: else fi
       }

       /* Lock */
   look:
       atomic { seen = word; seen_waiting = waiting }
       if
#if defined(BLIND)
       :: seen == 0 ->
#elif defined(ROB)
       :: true ->
#else
       :: seen == 0 || DEAD(seen) ->
#endif
          atomic {
            if
            :: word == seen && waiting == seen_waiting -> word = me; waiting = 1; goto taken
            :: else -> goto look
            fi
          }
       :: else
       fi;
       atomic {
         if
         :: word == seen && waiting == seen_waiting -> waiting = 1
         :: else
         fi;
         seen = 0; seen_waiting = 0;
         goto look /* having slept */
       }

   taken:
       /* Guard: the dead one's name stays until its work is repaired. */
       atomic { wants[slot] = 0; seen = 0; seen_waiting = 0 }
       if
       :: owner != 0 ->
#ifdef WIPE
          owner = 0;
#endif
          torn = 0
       :: else
       fi;
       owner = slot + 1;

       d_step { inside[slot] = 1; assert(!OTHERS_INSIDE(slot)); assert(!torn) }
       torn = 1; /* the first is stored, */
       torn = 0; /* and the second */
       d_step { inside[slot] = 0; owner = 0 }

       d_step { assert(word == me); word = 0; waiting = 0 }
    od
  } unless {
    doomed[slot]
  };
  atomic {
    alive[slot] = 0; doomed[slot] = 0; inside[slot] = 0; wants[slot] = 0;
    me = 0; seen = 0; seen_waiting = 0;
    goto end_born
  }
}

init {
  byte slot;
  atomic {
    for (slot : 0 .. PROCESSES - 1) { alive[slot] = 1; run Process(slot) }
  }
  do
  :: crashes < CRASHES ->
     if :: alive[0] -> slot = 0 :: alive[1] -> slot = 1 :: alive[2] -> slot = 2 fi;
     atomic { crashes++; doomed[slot] = 1 }
     !alive[slot];
     /* Its successor may be long in coming, or never come. */
     if
     :: atomic { generation[slot]++; alive[slot] = 1 }
     :: skip
     fi
  :: break
  od
}

#define HELD_BY_THE_DEAD (word != 0 && DEAD(word))
#define WANTED (wants[0] || wants[1] || wants[2])

ltl handed_over { [] ((HELD_BY_THE_DEAD && WANTED) -> <> !(HELD_BY_THE_DEAD && WANTED)) }
