// A child process for tests: it does one thing, can be waited for, stopped and
// killed, and never outlives the test.
#pragma once

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <csignal>
#include <functional>
#include <thread>

#include "world.hpp"

namespace uwshm::test {

// True once `holds` is, false after ten seconds: tests wait for conditions.
inline bool Eventually(const std::function<bool()>& holds) {
  for (const uint64_t until = BootMs() + 10000; BootMs() < until; std::this_thread::yield())
    if (holds()) return true;
  return holds();
}

// One word that parent and children share.
class SharedWord {
 public:
  SharedWord() {
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    Need(page != MAP_FAILED, "no memory for a word");
    word_ = static_cast<std::atomic<uint32_t>*>(page);
  }
  ~SharedWord() { munmap(word_, 4096); }
  SharedWord(const SharedWord&) = delete;
  SharedWord& operator=(const SharedWord&) = delete;
  std::atomic<uint32_t>& operator*() const { return *word_; }

 private:
  std::atomic<uint32_t>* word_;
};

class Child {
 public:
  // Runs `act` in a child process, which exits with what it returns.
  explicit Child(const std::function<int()>& act) : pid_(fork()) {
    Need(pid_ >= 0, "fork failed");
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(act());
  }
  ~Child() { Kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }

  int ExitCode() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  void Kill() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

  void Freeze() {
    kill(pid_, SIGSTOP);
    int status = 0;
    waitpid(pid_, &status, WUNTRACED);
  }
  void Thaw() { kill(pid_, SIGCONT); }

 private:
  pid_t pid_;
};

// Attaches in a child; ends it with a sentence when that is refused.
inline void AttachOrEnd(Instance& instance, const std::vector<int>& fds, Caller* caller, const Self& me = Me()) {
  Trouble trouble;
  Need(instance.Attach(kInstance, fds, me, &trouble) == Status::kOk, "a child cannot attach");
  Need(instance.EnterThread(caller) == Status::kOk, "no thread slot for a child");
}

}  // namespace uwshm::test
