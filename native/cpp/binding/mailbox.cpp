// Mail between processes of one group that nobody waits for: a worker raises an
// alarm, an alarm calls a worker.
//
// A mailbox is a datagram socket with an abstract name, read by a native thread, so
// the kernel keeps every message whole and a busy event loop holds up no sender. It
// belongs to nobody's memory: whoever dies in the middle of sending has sent nothing.
// Mail of other users is thrown away. Beside its mail a mailbox watches descriptors
// (--alarm-fd), of which it reads so many bytes at a time.
//
// After every message the thread rests for a millisecond: a process that sends without
// end fills the kernel's short queue, and is told so, instead of keeping us busy.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <ctime>
#include <memory>
#include <mutex>

#include "convert.hpp"
#include "environment.hpp"
#include "thread.hpp"

namespace uwshm {
namespace {

constexpr size_t kLongestMail = 65536;
constexpr size_t kMostUntold = 256;       // messages that wait for the event loop
constexpr int kSenderPatienceUs = 10000;  // how long a sender waits for room in the kernel's queue
constexpr int kRestNs = 1000000;

struct Letter {
  int32_t source;  // -1: mail; else which of the watched descriptors
  std::string bytes;
};

struct Watched {
  int fd;
  size_t bytes;
};

// Shared by the thread and the environment that listens; whoever goes last frees it.
struct Mailbox {
  int socket = -1, hang_up = -1;
  std::vector<Watched> watched;
  std::mutex mutex;
  napi_threadsafe_function call = nullptr;  // until its environment ends

  ~Mailbox() {
    if (socket >= 0) close(socket);
    if (hang_up >= 0) close(hang_up);
  }

  void Tell(int32_t source, std::string bytes) {
    std::lock_guard<std::mutex> alone(mutex);
    auto* letter = new Letter{source, std::move(bytes)};
    if (call == nullptr || napi_call_threadsafe_function(call, letter, napi_tsfn_nonblocking) != napi_ok) delete letter;
  }

  void Run() {
    std::vector<pollfd> all = {{hang_up, POLLIN, 0}, {socket, POLLIN, 0}};
    for (const Watched& one : watched) all.push_back({one.fd, POLLIN, 0});
    std::string room(kLongestMail, '\0');
    for (;;) {
      if (poll(all.data(), all.size(), -1) < 0 && errno != EINTR) return;
      if (all[0].revents != 0) return;
      if (all[1].revents != 0) TakeMail(room);
      for (size_t i = 2; i < all.size(); i++)
        if (all[i].revents != 0 && !TakeFrom(i - 2, room)) all[i].fd = -1;
      const timespec rest{0, kRestNs};
      nanosleep(&rest, nullptr);
    }
  }

  void TakeMail(std::string& room) {
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
    iovec part{room.data(), room.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0) return;
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) return;
    ucred sender;
    memcpy(&sender, CMSG_DATA(header), sizeof sender);
    if (sender.uid != geteuid() && sender.uid != 0) return;
    Tell(-1, room.substr(0, static_cast<size_t>(size)));
  }

  // False: nothing will ever come from there again.
  bool TakeFrom(size_t index, std::string& room) {
    const Watched& from = watched[index];
    const ssize_t size = read(from.fd, room.data(), from.bytes);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    Tell(static_cast<int32_t>(index), room.substr(0, size > 0 ? static_cast<size_t>(size) : 0));
    return size > 0;
  }
};

socklen_t AddressOf(const std::string& name, sockaddr_un* address) {
  *address = {};
  address->sun_family = AF_UNIX;
  const size_t size = std::min(name.size(), sizeof address->sun_path - 1);
  memcpy(address->sun_path + 1, name.data(), size);  // its first byte is 0: an abstract name
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
}

void CallBack(napi_env env, napi_value callback, void*, void* data) {
  std::unique_ptr<Letter> letter(static_cast<Letter*>(data));
  if (env == nullptr) return;
  napi_value arguments[2], undefined;
  napi_create_int32(env, letter->source, &arguments[0]);
  napi_create_buffer_copy(env, letter->bytes.size(), letter->bytes.data(), nullptr, &arguments[1]);
  napi_get_undefined(env, &undefined);
  napi_call_function(env, undefined, callback, 2, arguments, nullptr);
}

bool Start(std::shared_ptr<Mailbox> box) {
  auto run = [](void* given) -> void* {
    std::unique_ptr<std::shared_ptr<Mailbox>> own(static_cast<std::shared_ptr<Mailbox>*>(given));
    (*own)->Run();
    return nullptr;
  };
  auto own = std::make_unique<std::shared_ptr<Mailbox>>(std::move(box));
  if (!StartThread(run, own.get())) return false;
  (void)own.release();
  return true;
}

// openMailbox(name, fds, sizes, callback): false when another mailbox has that name.
napi_value OpenMailbox(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const std::string name = arguments.Text(0);
  uint32_t count = 0;
  if (!arguments.ok || napi_get_array_length(env, arguments.Raw(1), &count) != napi_ok) return arguments.Wrong();
  auto box = std::make_shared<Mailbox>();
  for (uint32_t i = 0; i < count; i++) {
    napi_value fd, bytes;
    int32_t number = -1;
    uint32_t size = 0;
    napi_get_element(env, arguments.Raw(1), i, &fd);
    napi_get_element(env, arguments.Raw(2), i, &bytes);
    if (napi_get_value_int32(env, fd, &number) != napi_ok || napi_get_value_uint32(env, bytes, &size) != napi_ok)
      return arguments.Wrong();
    // Whoever shares it may be faster: then there is nothing to read, and nothing to wait for.
    fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK);
    box->watched.push_back({number, std::min<size_t>(size, kLongestMail)});
  }

  sockaddr_un address;
  const socklen_t length = AddressOf(name, &address);
  const int on = 1;
  box->hang_up = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  box->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (box->hang_up < 0 || box->socket < 0) return ThrowErrno(env, errno);
  setsockopt(box->socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
  if (bind(box->socket, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    napi_value no;
    napi_get_boolean(env, false, &no);
    return errno == EADDRINUSE ? no : ThrowErrno(env, errno);
  }

  napi_value title, yes;
  napi_create_string_utf8(env, "uwshm: mailbox", NAPI_AUTO_LENGTH, &title);
  if (napi_create_threadsafe_function(env, arguments.Raw(3), nullptr, title, kMostUntold, 1, nullptr, nullptr, nullptr,
                                      CallBack, &box->call) != napi_ok)
    return arguments.Wrong();
  napi_unref_threadsafe_function(env, box->call);
  auto* own = new std::shared_ptr<Mailbox>(box);
  auto hang_up = [](void* given) {
    std::unique_ptr<std::shared_ptr<Mailbox>> own(static_cast<std::shared_ptr<Mailbox>*>(given));
    std::lock_guard<std::mutex> alone((*own)->mutex);
    (*own)->call = nullptr;
    const uint64_t one = 1;
    if (write((*own)->hang_up, &one, sizeof one) < 0) return;  // it is read at the next message then
  };
  napi_add_env_cleanup_hook(env, hang_up, own);
  if (!Start(box)) return Environment::Of(env)->Throw("NO_THREAD", {"a mailbox"});
  napi_get_boolean(env, true, &yes);
  return yes;
}

// post(name, bytes, waits): false when nobody has that mailbox, or it is full.
napi_value Post(napi_env env, napi_callback_info info) {
  static const int sender = [] {
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const timeval patience{0, kSenderPatienceUs};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
  }();
  Arguments arguments(env, info);
  const std::string name = arguments.Text(0);
  void* bytes = nullptr;
  size_t size = 0;
  bool waits = false;
  if (!arguments.ok || napi_get_value_bool(env, arguments.Raw(2), &waits) != napi_ok ||
      napi_get_typedarray_info(env, arguments.Raw(1), nullptr, &size, &bytes, nullptr, nullptr) != napi_ok)
    return arguments.Wrong();
  sockaddr_un address;
  const socklen_t length = AddressOf(name, &address);
  const bool sent =
      sendto(sender, bytes, std::min(size, kLongestMail), waits ? MSG_NOSIGNAL : MSG_NOSIGNAL | MSG_DONTWAIT,
             reinterpret_cast<const sockaddr*>(&address), length) >= 0;
  napi_value outcome;
  napi_get_boolean(env, sent, &outcome);
  return outcome;
}

}  // namespace

void InitMailbox(napi_env env, napi_value exports) {
  const FunctionRow rows[] = {{"openMailbox", OpenMailbox}, {"post", Post}};
  AddFunctions(env, exports, rows, 2);
}

}  // namespace uwshm
