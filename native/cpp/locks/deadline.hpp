// When a wait gives up: a moment of the monotonic clock, however often the wait
// is interrupted. It is no time of day, so nobody has to hand it in.
#pragma once

#include <cstdint>
#include <ctime>

namespace uwshm {

class Deadline {
 public:
  explicit Deadline(uint32_t in_ms) : at_(After(Now(), in_ms)) {}

  const timespec& at() const { return at_; }

  // The earlier of this and `in_ms` from now: nobody sleeps longer without looking.
  Deadline OrIn(uint32_t in_ms) const {
    const timespec early = After(Now(), in_ms);
    return Deadline(Left(early, at_).tv_sec < 0 ? at_ : early);
  }

  bool HasCome() const { return left().tv_sec < 0; }
  // Negative once it has come.
  timespec left() const { return Left(Now(), at_); }

 private:
  explicit Deadline(const timespec& at) : at_(at) {}

  static timespec Now() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now;
  }
  static timespec After(timespec from, uint32_t ms) {
    from.tv_sec += ms / 1000;
    from.tv_nsec += static_cast<long>(ms % 1000) * 1000000;
    if (from.tv_nsec >= 1000000000) from.tv_sec++, from.tv_nsec -= 1000000000;
    return from;
  }
  static timespec Left(const timespec& from, const timespec& until) {
    timespec left{until.tv_sec - from.tv_sec, until.tv_nsec - from.tv_nsec};
    if (left.tv_nsec < 0) left.tv_sec--, left.tv_nsec += 1000000000;
    return left;
  }

  timespec at_;
};

}  // namespace uwshm
