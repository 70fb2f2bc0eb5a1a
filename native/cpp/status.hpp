// Every outcome an operation can have. Expected ones are answers for the
// caller; the rest become one error each at the binding.
#pragma once

#include <cstdint>

namespace uwshm {

enum class Status : uint8_t {
  kOk,
  // Expected outcomes.
  kNotFound,
  kExists,
  kChanged,
  kFull,
  kCrowded,
  kKeyEmpty,
  kKeyTooLong,
  kValueTooLarge,
  kNotANumber,
  kDivision,
  // A lock's owner lives but does not go on.
  kBusy,
  // Metrics.
  kReadOnly,
  // User locks.
  kHeld,      // the caller itself has it
  kNotOwner,  // the caller has not
  kDeadlock,  // waiting would never end
  // A lock is not there any more: somebody has removed the kernel's object.
  kLockBroken,
  // Words that no sequence of our own stores can have left behind.
  kCorrupt,
  // Segments and slots.
  kForeign,
  kLayout,
  kPidNamespace,
  kNoMemory,
  kTooLarge,
  kNoProcessSlot,
  kNoThreadSlot,
  // Kernel objects of that key serve somebody else.
  kInUse,
};

}  // namespace uwshm
