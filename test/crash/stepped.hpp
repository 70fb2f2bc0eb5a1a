// A child process that attaches to the instance, and then goes through a call
// one instruction at a time.
#pragma once

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <csignal>
#include <functional>

#include "image.hpp"

namespace uwshm::test {

// Begins anew with all functions bound: the dynamic linker's own instructions are not what we count.
inline void BindNow(char** words) {
  if (getenv("LD_BIND_NOW") != nullptr) return;
  setenv("LD_BIND_NOW", "1", 1);
  execv("/proc/self/exe", words);
}

class Stepped {
 public:
  using Act = std::function<void(Instance&, const Caller&, uint32_t word)>;

  // Attached and waiting at its first `act`, which it will do again and again.
  Stepped(Instance& instance, Act act) {
    void* page = mmap(nullptr, sizeof *shared_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    Need(page != MAP_FAILED, "no memory for a word");
    shared_ = static_cast<Shared*>(page);
    pid_ = fork();
    Need(pid_ >= 0, "fork failed");
    if (pid_ == 0) Live(instance.Descriptors(), act);
    Wait();  // at its first SIGSTOP
    tids_ = ThreadIdsOf(pid_);
  }

  ~Stepped() {
    Kill();
    munmap(shared_, sizeof *shared_);
  }

  Stepped(const Stepped&) = delete;
  Stepped& operator=(const Stepped&) = delete;

  // To the first instruction of the next act; `word` tells it what to do.
  void Begin(uint32_t word = 0) {
    shared_->word = word;
    shared_->inside = 0;
    while (shared_->inside == 0) Step();
  }

  // One instruction. False: the act is done, and the child waits for the next Begin.
  bool Step() {
    if (ptrace(PTRACE_SINGLESTEP, pid_, 0, 0) != 0) Need(false, "a child cannot be stepped");
    Wait();
    if (shared_->inside != 2) return true;
    ptrace(PTRACE_CONT, pid_, 0, 0);
    Wait();
    return false;
  }

  // For real, and seen through to the end.
  void Kill() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    int status;
    while (waitpid(pid_, &status, __WALL) == pid_ && !WIFSIGNALED(status) && !WIFEXITED(status)) {
    }
    pid_ = 0;
  }

  uint64_t At() const {
    user_regs_struct registers{};
    ptrace(PTRACE_GETREGS, pid_, 0, &registers);
    return registers.rip;
  }

  const std::vector<uint32_t>& tids() const { return tids_; }

 private:
  struct Shared {
    volatile uint32_t inside;  // 1 = in the act, 2 = behind it
    volatile uint32_t word;
  };

  [[noreturn]] void Live(const std::vector<int>& fds, const Act& act) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    auto* instance = new Instance;
    Caller caller{};
    Trouble trouble;
    Need(instance->Attach(kInstance, fds, Me(TestMs), &trouble) == Status::kOk, "a child cannot attach");
    Need(instance->EnterThread(&caller) == Status::kOk, "no thread slot for a child");
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    for (;;) {
      raise(SIGSTOP);
      shared_->inside = 1;
      act(*instance, caller, shared_->word);
      shared_->inside = 2;
    }
  }

  void Wait() {
    int status = 0;
    Need(waitpid(pid_, &status, __WALL) == pid_ && WIFSTOPPED(status), "a child ended by itself");
  }

  Shared* shared_;
  pid_t pid_ = 0;
  std::vector<uint32_t> tids_;
};

}  // namespace uwshm::test
