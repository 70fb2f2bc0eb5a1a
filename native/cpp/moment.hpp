// Which of two things came first, in whatever process they happened.
//
// Not what time it is: nobody may turn a moment into seconds. The processor's
// cycle counter runs alike on all cores of the machines that we run on
// (constant and nonstop), and reading it costs 7 ns, a third of asking the
// kernel's page for the time; where it does not, an order between processes
// is off by as much, and nothing else depends on it.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#else
#include <ctime>
#endif

namespace uwshm {

// The lowest bit of a moment is left to whoever keeps it.
constexpr uint64_t kVisited = 1;

inline uint64_t Moment() {
#if defined(__x86_64__)
  return __rdtsc() & ~kVisited;
#else
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec)) << 1;
#endif
}

}  // namespace uwshm
