// Walks the invariants of user_locks_layout.hpp, believing nothing it reads.
#include <cstring>
#include <map>

#include "user_locks.hpp"

namespace uwshm {

using namespace lock_word;

class UserLocksCheck {
 public:
  explicit UserLocksCheck(const UserLocks& locks) : l_(locks) {}

  std::string Run() {
    for (uint32_t lock = 0; lock < l_.used(); lock++) {
      const std::string fault = LookAt(lock);
      if (!fault.empty()) return l_.NameOf(lock) + ": " + fault;
    }
    for (uint32_t i = 0; i < l_.records_used(); i++) {
      const WaitRecord& record = l_.records_[i];
      const uint32_t state = record.state.load();
      if (record.owner.load() == 0) continue;
      if (state == WaitRecord::kWaiting || state == WaitRecord::kDone || state == WaitRecord::kHolding) records_--;
    }
    std::map<std::pair<uint64_t, uint64_t>, uint32_t> subjects;
    for (uint32_t i = 0; i < l_.leases_used(); i++) {
      const Lease& lease = l_.leases_[i];
      if (lease.owner.load() != 0 && ++subjects[{lease.subject[0].load(), lease.subject[1].load()}] > 1)
        return "two leases have one subject (U6)";
    }
    return records_ == 0 ? "" : "records and lists do not agree (U2)";
  }

 private:
  std::string LookAt(uint32_t lock) {
    const UserLock& row = l_.locks_[lock];
    const uint64_t word = row.word.load();
    if ((word & kShared) && OwnerOf(word) != 0) return "owned and shared (U1)";
    uint64_t last_ticket = 0, queued = 0, sharing = 0;
    RecordIndex before = 0, index = row.first.load();
    for (; index != 0; before = index, index = l_.records_[index - 1].next.load(), queued++) {
      const WaitRecord* record = l_.RecordAt(index);
      if (record == nullptr || queued > l_.records_count_) return "its queue leads nowhere (U2)";
      if (record->lock.load() != lock || record->owner.load() == 0 || record->previous.load() != before ||
          (record->state.load() != WaitRecord::kWaiting && record->state.load() != WaitRecord::kDone))
        return "a record is queued that should not be (U2)";
      if (record->ticket.load() <= last_ticket) return "the queue is out of order (U3)";
      last_ticket = record->ticket.load();
    }
    if (row.last.load() != before) return "the end of the queue is elsewhere (U3)";
    if ((queued != 0) != ((word & kWaiters) != 0)) return "W and the queue do not agree (U3)";
    for (index = row.sharers.load(); index != 0; index = l_.records_[index - 1].next.load(), sharing++) {
      const WaitRecord* record = l_.RecordAt(index);
      if (record == nullptr || sharing > l_.records_count_) return "its sharers lead nowhere (U2)";
      if (record->lock.load() != lock || record->owner.load() == 0 || record->state.load() != WaitRecord::kHolding)
        return "a record shares that should not (U2)";
    }
    if ((sharing != 0) != ((word & kShared) != 0)) return "S and the sharers do not agree (U4)";
    records_ += queued + sharing;
    if (lock < l_.geometry_.numbered) return "";
    if (row.name[0] == 0) return "no name (U5)";
    for (uint32_t other = l_.geometry_.numbered; other < lock; other++)
      if (strncmp(row.name, l_.locks_[other].name, sizeof row.name) == 0) return "two of one name (U5)";
    return "";
  }

  const UserLocks& l_;
  uint64_t records_ = 0;  // on lists, less those whose state says so
};

std::string UserLocks::Check() const { return UserLocksCheck(*this).Run(); }

}  // namespace uwshm
