// Sockets that are bound before anybody accepts, and the tie of a worker to its
// master: what Node cannot do by itself.
//
// The master keeps listening sockets open and never accepts on them. A
// net.Server accepts as soon as it listens, and node:cluster loses the requests
// that wait at a worker when it dies; a bare descriptor loses none: connections
// wait in the kernel until some worker takes them. And Node 20 pads an abstract
// name with NULs to its full length, so that no other program finds it.
#include <arpa/inet.h>
#include <netdb.h>
#include <node_api.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include "convert.hpp"

namespace uwshm {
namespace {

constexpr int kSocket = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;

// Binds and listens; the descriptor, or -1 with errno set and nothing left open.
int ListenAt(int family, const sockaddr* address, socklen_t size, int backlog) {
  const int fd = socket(family, kSocket, 0);
  if (fd < 0) return -1;
  const int on = 1, off = 0;
  // Connections of the previous instance in TIME_WAIT must not block a restart.
  if (family != AF_UNIX) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // `::` takes IPv4 too, whatever net.ipv6.bindv6only says.
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  // The file gets this mode less the umask: who may connect is the umask's affair.
  if (family == AF_UNIX) fchmod(fd, 0666);
  if (bind(fd, address, size) == 0 && listen(fd, backlog) == 0) return fd;
  const int why = errno;
  close(fd);
  errno = why;
  return -1;
}

int ListenEverywhere(uint16_t port, int backlog) {
  sockaddr_in6 six = {};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(port);
  const int fd = ListenAt(AF_INET6, reinterpret_cast<sockaddr*>(&six), sizeof six, backlog);
  if (fd >= 0 || errno == EADDRINUSE || errno == EACCES) return fd;
  sockaddr_in four = {};  // no IPv6 on this machine
  four.sin_family = AF_INET;
  four.sin_port = htons(port);
  return ListenAt(AF_INET, reinterpret_cast<sockaddr*>(&four), sizeof four, backlog);
}

// listenTcp(host, port, backlog) → fd.  Host '' is every address.
napi_value ListenTcp(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const std::string host = arguments.Text(0);
  const int32_t port = arguments.Int(1);
  const int32_t backlog = arguments.Int(2);
  if (!arguments.ok || port < 0 || port > 65535) return arguments.Wrong();

  int fd = -1;
  if (host.empty()) {
    fd = ListenEverywhere(static_cast<uint16_t>(port), backlog);
  } else {
    addrinfo wish = {};
    wish.ai_family = AF_UNSPEC;
    wish.ai_socktype = SOCK_STREAM;
    wish.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const int refused = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wish, &found);
    if (refused != 0) {
      napi_throw_error(env, "ENOTFOUND", gai_strerror(refused));
      return nullptr;
    }
    fd = ListenAt(found->ai_family, found->ai_addr, found->ai_addrlen, backlog);
    const int why = errno;
    freeaddrinfo(found);
    errno = why;
  }
  return fd < 0 ? ThrowErrno(env, errno) : Number(env, fd);
}

// Is there a socket file at `address` that nobody answers at any more?
bool IsStale(const sockaddr_un& address, socklen_t size) {
  struct stat file;
  // Whatever else lies there belongs to somebody: it is not ours to remove.
  if (lstat(address.sun_path, &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
  const int fd = socket(AF_UNIX, kSocket, 0);
  if (fd < 0) return false;
  const bool refused = connect(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0 && errno == ECONNREFUSED;
  close(fd);
  return refused;
}

// The size of the address, or 0 when the path is too long. A path that begins
// with NUL is abstract.
socklen_t UnixAddress(const std::string& path, sockaddr_un* address) {
  *address = {};
  address->sun_family = AF_UNIX;
  // The length says where an abstract name ends; a file's path ends with a NUL.
  const size_t length = path.size() + (path[0] == '\0' ? 0 : 1);
  if (length > sizeof address->sun_path) return 0;
  memcpy(address->sun_path, path.data(), path.size());
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
}

// listenUnix(path, backlog) → fd.
napi_value ListenUnix(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const std::string path = arguments.Text(0);
  const int32_t backlog = arguments.Int(1);
  if (!arguments.ok || path.empty()) return arguments.Wrong();

  sockaddr_un address;
  const socklen_t size = UnixAddress(path, &address);
  if (size == 0) return ThrowErrno(env, ENAMETOOLONG);
  const bool abstract = path[0] == '\0';
  const sockaddr* where = reinterpret_cast<const sockaddr*>(&address);
  int fd = ListenAt(AF_UNIX, where, size, backlog);
  if (fd < 0 && errno == EADDRINUSE) {
    if (abstract || !IsStale(address, size) || unlink(address.sun_path) != 0) return ThrowErrno(env, EADDRINUSE);
    fd = ListenAt(AF_UNIX, where, size, backlog);
  }
  return fd < 0 ? ThrowErrno(env, errno) : Number(env, fd);
}

// limitSending(fd, bytes): what the kernel keeps of what a client does not read. Accepted sockets inherit it.
napi_value LimitSending(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const int fd = arguments.Int(0), bytes = arguments.Int(1);
  if (!arguments.ok) return arguments.Wrong();
  return setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) == 0 ? nullptr : ThrowErrno(env, errno);
}

// connectUnix(path) → fd, connected.
napi_value ConnectUnix(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const std::string path = arguments.Text(0);
  if (!arguments.ok || path.empty()) return arguments.Wrong();
  sockaddr_un address;
  const socklen_t size = UnixAddress(path, &address);
  if (size == 0) return ThrowErrno(env, ENAMETOOLONG);
  const int fd = socket(AF_UNIX, kSocket, 0);
  if (fd >= 0 && connect(fd, reinterpret_cast<sockaddr*>(&address), size) == 0) return Number(env, fd);
  const int why = errno;
  if (fd >= 0) close(fd);
  return ThrowErrno(env, why);
}

napi_value HostAndPort(napi_env env, int family, const void* host, uint16_t port) {
  char text[INET6_ADDRSTRLEN];
  if (inet_ntop(family, host, text, sizeof text) == nullptr) return ThrowErrno(env, errno);
  napi_value pair = nullptr;
  napi_create_array_with_length(env, 2, &pair);
  napi_set_element(env, pair, 0, String(env, text, NAPI_AUTO_LENGTH));
  napi_set_element(env, pair, 1, Number(env, ntohs(port)));
  return pair;
}

// boundAddress(fd) → [host, port], or the path (an abstract one with its NUL).
napi_value BoundAddress(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const int fd = arguments.Int(0);
  if (!arguments.ok) return arguments.Wrong();

  sockaddr_storage storage = {};
  socklen_t size = sizeof storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return ThrowErrno(env, errno);
  if (storage.ss_family == AF_INET) {
    const auto* address = reinterpret_cast<const sockaddr_in*>(&storage);
    return HostAndPort(env, AF_INET, &address->sin_addr, address->sin_port);
  }
  if (storage.ss_family == AF_INET6) {
    const auto* address = reinterpret_cast<const sockaddr_in6*>(&storage);
    return HostAndPort(env, AF_INET6, &address->sin6_addr, address->sin6_port);
  }
  if (storage.ss_family != AF_UNIX) return ThrowErrno(env, EAFNOSUPPORT);
  const auto* address = reinterpret_cast<const sockaddr_un*>(&storage);
  size_t length = size - offsetof(sockaddr_un, sun_path);
  if (length > 0 && address->sun_path[0] != '\0') length = strnlen(address->sun_path, length);
  return String(env, address->sun_path, length);
}

napi_value CloseFd(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const int fd = arguments.Int(0);
  if (!arguments.ok) return arguments.Wrong();
  // Linux has closed it even when it says EINTR.
  if (close(fd) != 0 && errno != EINTR) return ThrowErrno(env, errno);
  return nullptr;
}

// dieWithParent(pid, signal) → is `pid` still the parent?  The parent may have
// died before the kernel was asked, and would then never be noticed.
napi_value DieWithParent(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const int32_t pid = arguments.Int(0);
  const int32_t signal = arguments.Int(1);
  if (!arguments.ok) return arguments.Wrong();
  if (prctl(PR_SET_PDEATHSIG, signal) != 0) return ThrowErrno(env, errno);
  napi_value lives = nullptr;
  napi_get_boolean(env, getppid() == pid, &lives);
  return lives;
}

}  // namespace

void InitListen(napi_env env, napi_value exports) {
  const FunctionRow functions[] = {
      {"listenTcp", ListenTcp},         {"listenUnix", ListenUnix},     {"connectUnix", ConnectUnix},
      {"limitSending", LimitSending},   {"boundAddress", BoundAddress}, {"closeFd", CloseFd},
      {"dieWithParent", DieWithParent},
  };
  AddFunctions(env, exports, functions, sizeof functions / sizeof *functions);
}

}  // namespace uwshm
