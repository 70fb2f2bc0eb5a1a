// Connections that are to wait in the kernel: the event loop does not look at a
// listening descriptor any more, or does again.
//
// libuv can only close a listening handle, and the application would see that; so
// its epoll is asked behind its back. It re-arms nothing by itself: a listening
// handle's events never change.
//
// A handle that has just begun to listen is not in the epoll yet: libuv enters it
// at the loop's next poll, and takes what waits there in the same breath. For that
// one poll an empty pipe stands where the socket's descriptor was.
#include <fcntl.h>
#include <node_api.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "convert.hpp"
#include "environment.hpp"

namespace uwshm {
namespace {

// epoll's answer to a second asking, or about a descriptor that was closed: it is as wanted.
bool IsAsWanted(int error) { return error == EEXIST || error == ENOENT || error == EBADF; }

bool Ask(uv_loop_s* loop, int operation, int fd) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = fd;
  return epoll_ctl(uv_backend_fd(loop), operation, fd, &event) == 0;
}

// A socket that is elsewhere for the length of one poll.
struct Hidden {
  int fd;
  int aside;  // where the socket is
  bool on;    // to be looked at afterwards
};

// The main thread's loop only: it is the one that listens for the group.
class Newcomers {
 public:
  explicit Newcomers(uv_loop_s* loop) : loop_(loop) {
    uv_prepare_init(loop, &before_);
    uv_check_init(loop, &after_);
    uv_unref(reinterpret_cast<uv_handle_t*>(&before_));
    uv_unref(reinterpret_cast<uv_handle_t*>(&after_));
    before_.data = after_.data = this;
  }

  void Add(int fd) {
    Forget(fd);
    waiting_.push_back(fd);
    uv_prepare_start(&before_, [](uv_prepare_t* self) { static_cast<Newcomers*>(self->data)->BeforePoll(); });
  }

  void Forget(int fd) {
    waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), fd), waiting_.end());
    for (Hidden& one : hidden_)
      if (one.fd == fd) one.on = true;
  }

 private:
  void BeforePoll() {
    uv_prepare_stop(&before_);
    // Without descriptors left the socket stays where it is, and what waits is served.
    if (pipe2(pipe_, O_CLOEXEC) == 0) {
      fstat(pipe_[0], &blank_);
      for (int fd : waiting_) {
        const int aside = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (aside >= 0 && dup3(pipe_[0], fd, O_CLOEXEC) == fd) hidden_.push_back({fd, aside, false});
      }
    }
    waiting_.clear();
    uv_check_start(&after_, [](uv_check_t* self) { static_cast<Newcomers*>(self->data)->AfterPoll(); });
  }

  void AfterPoll() {
    uv_check_stop(&after_);
    for (const Hidden& one : hidden_) {
      // During the poll the application may have closed it, and the number may mean something else by now.
      struct stat now;
      const bool is_ours = fstat(one.fd, &now) == 0 && now.st_dev == blank_.st_dev && now.st_ino == blank_.st_ino;
      if (is_ours) {
        Ask(loop_, EPOLL_CTL_DEL, one.fd);
        dup3(one.aside, one.fd, O_CLOEXEC);
        if (one.on) Ask(loop_, EPOLL_CTL_ADD, one.fd);
      }
      close(one.aside);
    }
    hidden_.clear();
    for (int& end : pipe_) {
      if (end >= 0) close(end);
      end = -1;
    }
  }

  uv_loop_s* loop_;
  uv_prepare_t before_;
  uv_check_t after_;
  int pipe_[2] = {-1, -1};
  struct stat blank_ = {};
  std::vector<int> waiting_;
  std::vector<Hidden> hidden_;
};

Newcomers* NewcomersOf(uv_loop_s* loop) {
  static auto* newcomers = new Newcomers(loop);
  return newcomers;
}

// setAccepting(fds, on)
napi_value SetAccepting(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  uint32_t count = 0;
  bool on = false;
  uv_loop_s* loop = nullptr;
  if (!arguments.ok || napi_get_array_length(env, arguments.Raw(0), &count) != napi_ok ||
      napi_get_value_bool(env, arguments.Raw(1), &on) != napi_ok || napi_get_uv_event_loop(env, &loop) != napi_ok)
    return arguments.Wrong();
  for (uint32_t i = 0; i < count; i++) {
    napi_value element = nullptr;
    int32_t fd = -1;
    napi_get_element(env, arguments.Raw(0), i, &element);
    if (napi_get_value_int32(env, element, &fd) != napi_ok) return arguments.Wrong();
    if (on) NewcomersOf(loop)->Forget(fd);
    if (Ask(loop, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd)) continue;
    if (!IsAsWanted(errno)) return ThrowErrno(env, errno);
    if (!on && errno == ENOENT) NewcomersOf(loop)->Add(fd);
  }
  return nullptr;
}

}  // namespace

void InitAccepting(napi_env env, napi_value exports) {
  const FunctionRow functions[] = {{"setAccepting", SetAccepting}};
  AddFunctions(env, exports, functions, 1);
}

}  // namespace uwshm
