// How many connections wait at a listening socket, from the kernel: uWSGI knows
// it for TCP over IPv4 only.
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert.hpp"
#include "environment.hpp"

namespace uwshm {
namespace {

struct Queue {
  uint32_t waiting = 0, longest = 0, dropped = 0;
};

void ReadTcp(int fd, Queue* queue) {
  tcp_info state = {};
  socklen_t size = sizeof state;
  // Of a listening socket, these two mean its queue and the length given to listen().
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &state, &size) == 0)
    queue->waiting = state.tcpi_unacked, queue->longest = state.tcpi_sacked;
  uint32_t memory[SK_MEMINFO_VARS] = {};
  size = sizeof memory;
  if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0) queue->dropped = memory[SK_MEMINFO_DROPS];
}

// Asks the kernel's sock_diag about one unix socket, by its inode.
void ReadUnix(int fd, Queue* queue) {
  struct stat file;
  if (fstat(fd, &file) != 0) return;
  const int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (netlink < 0) return;
  struct {
    nlmsghdr header;
    unix_diag_req request;
  } question = {};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.request.sdiag_family = AF_UNIX;
  question.request.udiag_ino = static_cast<uint32_t>(file.st_ino);
  question.request.udiag_show = UDIAG_SHOW_RQLEN;
  question.request.udiag_cookie[0] = question.request.udiag_cookie[1] = ~0u;
  // The answer is there before send() returns: netlink does not make us wait.
  alignas(nlmsghdr) char answer[4096];
  ssize_t size = -1;
  if (send(netlink, &question, sizeof question, 0) == sizeof question)
    size = recv(netlink, answer, sizeof answer, MSG_DONTWAIT);
  close(netlink);

  const auto* header = reinterpret_cast<const nlmsghdr*>(answer);
  if (size < 0 || !NLMSG_OK(header, static_cast<uint32_t>(size)) || header->nlmsg_type != SOCK_DIAG_BY_FAMILY) return;
  const auto* found = static_cast<const unix_diag_msg*>(NLMSG_DATA(header));
  int room = static_cast<int>(header->nlmsg_len) - static_cast<int>(NLMSG_LENGTH(sizeof *found));
  for (const auto* part = reinterpret_cast<const nlattr*>(found + 1); room >= static_cast<int>(sizeof *part);) {
    if (part->nla_len < sizeof *part || part->nla_len > room) return;
    if (part->nla_type == UNIX_DIAG_RQLEN && part->nla_len >= sizeof *part + sizeof(unix_diag_rqlen)) {
      const auto* lengths = reinterpret_cast<const unix_diag_rqlen*>(part + 1);
      queue->waiting = lengths->udiag_rqueue, queue->longest = lengths->udiag_wqueue;
    }
    const int step = NLA_ALIGN(part->nla_len);
    room -= step;
    part = reinterpret_cast<const nlattr*>(reinterpret_cast<const char*>(part) + step);
  }
}

// socketQueue(fd) → [waiting, longest, dropped]; zeros for what is no listening socket.
napi_value SocketQueue(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const int fd = arguments.Int(0);
  if (!arguments.ok) return arguments.Wrong();
  Queue queue;
  int family = 0;
  socklen_t size = sizeof family;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0)
    family == AF_UNIX ? ReadUnix(fd, &queue) : ReadTcp(fd, &queue);
  napi_value list = nullptr;
  napi_create_array_with_length(env, 3, &list);
  napi_set_element(env, list, 0, Number(env, queue.waiting));
  napi_set_element(env, list, 1, Number(env, queue.longest));
  napi_set_element(env, list, 2, Number(env, queue.dropped));
  return list;
}

}  // namespace

void InitSocketQueue(napi_env env, napi_value exports) {
  const FunctionRow functions[] = {{"socketQueue", SocketQueue}};
  AddFunctions(env, exports, functions, 1);
}

}  // namespace uwshm
