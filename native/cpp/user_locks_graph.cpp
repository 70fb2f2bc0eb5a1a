// Who waits for whom: circles among those who wait for user locks, over all processes.
//
// A wait hangs on every hold of its lock, and in a queue that keeps its order
// on the wait before it. A hold hangs on the waits that keep its owner from
// letting go: any that blocks the thread it was taken in, and any that was begun
// within it (`parent`, and the parent's parent). What else goes on in the same process
// keeps nobody from letting go, and makes no circle.
//
// All of it is read without a guard, while others go on. So a circle is believed only when
// two looks find the same tickets: who waits for ever does not move.
#include <algorithm>
#include <map>

#include "user_locks.hpp"

namespace uwshm {

using namespace lock_word;

class WaitGraph {
 public:
  WaitGraph(const UserLocks& locks, uint64_t old_us) : l_(locks) {
    ReadWaits(old_us);
    if (waits_.empty()) return;
    ReadHolds();
    Connect();
  }

  std::vector<Circle> Circles() {
    seen_.assign(waits_.size(), 0);
    for (uint32_t wait = 0; wait < waits_.size(); wait++)
      if (seen_[wait] == 0) Visit(wait);
    return circles_;
  }

 private:
  struct Hold {
    uint32_t lock;
    uint64_t owner;
    uint32_t thread, parent;
    std::vector<uint32_t> hangs_on;  // waits
  };
  struct Wait {
    RecordIndex record;
    uint64_t ticket;
    uint32_t lock;
    uint64_t owner;
    uint32_t thread, parent;
    bool blocks;
    std::vector<uint32_t> hangs_on;  // waits
  };

  void ReadWaits(uint64_t old_us) {
    const uint64_t now = l_.now_us_();
    for (uint32_t i = 0; i < l_.records_used(); i++) {
      const WaitRecord& record = l_.records_[i];
      const uint64_t since = record.since_us.load();
      if (record.state.load() != WaitRecord::kWaiting || now < since || now - since < old_us) continue;
      const uint32_t lock = record.lock.load();
      if (lock >= l_.used()) continue;
      waits_.push_back({i + 1,
                        record.ticket.load(),
                        lock,
                        record.owner.load(),
                        record.thread.load(),
                        record.parent.load(),
                        !(record.flags.load() & WaitRecord::kAsync),
                        {}});
    }
    std::sort(waits_.begin(), waits_.end(), [](const Wait& a, const Wait& b) { return a.ticket < b.ticket; });
  }

  void ReadHolds() {
    for (uint32_t lock = 0; lock < l_.used(); lock++) {
      const UserLock& row = l_.locks_[lock];
      const uint64_t word = row.word.load();
      if (OwnerOf(word) == 0 || (word & kShared) || row.note_token.load() != TokenOf(word)) continue;
      holds_.push_back({lock, OwnerOf(word), row.note_thread.load(), row.note_parent.load(), {}});
    }
    for (uint32_t i = 0; i < l_.records_used(); i++) {
      const WaitRecord& record = l_.records_[i];
      if (record.state.load() != WaitRecord::kHolding || record.owner.load() == 0) continue;
      holds_.push_back({record.lock.load(), record.owner.load(), record.thread.load(), record.parent.load(), {}});
    }
  }

  void Connect() {
    std::map<uint64_t, uint32_t> by_owner;                 // asynchronous holds have a token each
    std::multimap<uint32_t, uint32_t> of_lock, of_thread;  // → holds
    for (uint32_t hold = 0; hold < holds_.size(); hold++) {
      by_owner[holds_[hold].owner] = hold;
      of_lock.emplace(holds_[hold].lock, hold);
      of_thread.emplace(holds_[hold].thread, hold);
    }
    for (uint32_t i = 0; i < waits_.size(); i++) {
      const Wait& wait = waits_[i];
      if (wait.blocks) {
        for (auto [at, end] = of_thread.equal_range(wait.thread); at != end; ++at)
          if (ProcessOf(holds_[at->second].owner) == ProcessOf(wait.owner)) holds_[at->second].hangs_on.push_back(i);
        continue;
      }
      uint32_t parent = wait.parent;
      for (size_t steps = 0; parent != 0 && steps < holds_.size(); steps++) {
        auto hold = by_owner.find(WithToken(wait.owner, parent));
        if (hold == by_owner.end()) break;
        holds_[hold->second].hangs_on.push_back(i);
        parent = holds_[hold->second].parent;
      }
    }
    std::map<uint32_t, uint32_t> before;  // lock → the last wait seen in its queue
    for (uint32_t i = 0; i < waits_.size(); i++) {
      for (auto [at, end] = of_lock.equal_range(waits_[i].lock); at != end; ++at) {
        const auto& more = holds_[at->second].hangs_on;
        waits_[i].hangs_on.insert(waits_[i].hangs_on.end(), more.begin(), more.end());
      }
      if (auto last = before.find(waits_[i].lock); last != before.end() && l_.IsDirect(l_.locks_[waits_[i].lock]))
        waits_[i].hangs_on.push_back(last->second);
      before[waits_[i].lock] = i;
    }
  }

  // Depth first, without recursion: a queue may be thousands long.
  void Visit(uint32_t from) {
    constexpr uint32_t kOnPath = 1, kFinished = 2;
    std::vector<std::pair<uint32_t, size_t>> path{{from, 0}};
    seen_[from] = kOnPath;
    while (!path.empty()) {
      auto& [wait, at] = path.back();
      if (at == waits_[wait].hangs_on.size()) {
        seen_[wait] = kFinished;
        path.pop_back();
        continue;
      }
      const uint32_t next = waits_[wait].hangs_on[at++];
      if (seen_[next] == 0) {
        seen_[next] = kOnPath;
        path.emplace_back(next, 0);
      } else if (seen_[next] == kOnPath) {
        Circle circle;
        auto start = std::find_if(path.begin(), path.end(), [next](const auto& step) { return step.first == next; });
        for (; start != path.end(); ++start) circle.push_back(LinkOf(waits_[start->first]));
        circles_.push_back(circle);
      }
    }
  }

  CircleLink LinkOf(const Wait& wait) const {
    CircleLink link{wait.record, wait.ticket, wait.lock, 0, 0};
    if (const uint32_t slot = SlotOf(wait.owner); slot < l_.geometry_.processes)
      link.pid = l_.processes_->process(slot).pid, link.worker = l_.processes_->process(slot).worker;
    return link;
  }

  const UserLocks& l_;
  std::vector<Hold> holds_;
  std::vector<Wait> waits_;
  std::vector<uint8_t> seen_;
  std::vector<Circle> circles_;
};

std::vector<Circle> UserLocks::Circles(uint64_t old_us) const { return WaitGraph(*this, old_us).Circles(); }

bool UserLocks::Break(const CircleLink& youngest, const Caller& caller) {
  WaitRecord& record = records_[youngest.record - 1];
  Guard guard(*guards_, GuardOf(youngest.lock), caller, *this);
  if (guard.status() != Status::kOk || record.state.load() != WaitRecord::kWaiting ||
      record.ticket.load() != youngest.ticket)
    return false;
  record.bell.fetch_or(WaitRecord::kDeadlock);
  RingFor(record);
  return true;
}

}  // namespace uwshm
