// A minimal client of generation 2, which does only what every client must. It sends prepared messages, reads frame
// headers, and receives payloads into reused memory. It does not decode or check anything, and has no callbacks and no
// pool.
//
//   bare <url> <workload> <parameters...>
//   connect N        connect, hello, close; with a thread that sleeps until the end
//   blob BYTES N     N publications of BYTES bytes, each in one frame, read in place; it sleeps in the read
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "meter.hpp"

namespace {

using bench::die;
using bench::meter;

// One thread sleeps here until another one wakes it.
class sleeper {
public:
  sleeper() : epoll_(epoll_create1(EPOLL_CLOEXEC)), event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    epoll_event what{EPOLLIN | EPOLLET, {}};
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, event_, &what))
      die("epoll_ctl");
  }
  ~sleeper() {
    close(event_);
    close(epoll_);
  }
  sleeper(const sleeper &) = delete;
  sleeper &operator=(const sleeper &) = delete;

  void sleep() {
    epoll_event got[2];
    if (epoll_wait(epoll_, got, 2, -1) < 1)
      die("epoll_wait");
  }
  void wake() {
    const std::uint64_t one = 1;
    if (write(event_, &one, sizeof one) != sizeof one)
      die("wake");
  }

private:
  int epoll_, event_;
};

class connection {
public:
  explicit connection(const std::string &url) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const std::string address = url.substr(url.find("//") + 2), host = address.substr(0, address.find(':'));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(std::uint16_t(std::atoi(address.c_str() + host.size() + 1)));
    inet_pton(AF_INET, host.c_str(), &to.sin_addr);
    if (connect(socket_, reinterpret_cast<sockaddr *>(&to), sizeof to))
      die("connect");
    const int on = 1;
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    put("GET /ws HTTP/1.1\r\nHost: " + host +
        "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
    while (std::string_view(input_, end_).find("\r\n\r\n") == std::string_view::npos)
      get();
    begin_ = std::string_view(input_, end_).find("\r\n\r\n") + 4;
    send("\x84\xa6wslink\xa3"
         "1.0\xa2id\xabsystem:c0:0\xa6method\xacwslink.hello\xa4"
         "args\x91\x81\xa6secret\xadwslink-secret");
    skip(next());
  }
  ~connection() { close(socket_); }
  connection(const connection &) = delete;
  connection &operator=(const connection &) = delete;

  // A message as one chunk in one frame, whose mask is zero.
  void send(std::string_view message) {
    std::string frame = {
        '\x82', char(0x80 | (message.size() + 12)), 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, char(message.size()), 0, 0, 0};
    put(frame.append(message));
  }
  // Reads the header of the next frame; returns the size of its payload.
  std::size_t next() {
    for (;;) {
      const auto *head = reinterpret_cast<const unsigned char *>(input_ + begin_);
      const std::size_t have = end_ - begin_;
      const std::size_t extra = have < 2 ? 0 : (head[1] & 127) == 127 ? 8 : (head[1] & 127) == 126 ? 2 : 0;
      if (have >= 2 + extra && have >= 2) {
        std::size_t payload = extra ? 0 : head[1] & 127;
        for (std::size_t i = 0; i < extra; i++)
          payload = payload << 8 | head[2 + i];
        begin_ += 2 + extra;
        return payload;
      }
      get();
    }
  }
  // Reads the payload in place. The same read may bring the beginning of the next frame, for which there is room after
  // the payload.
  void read(char *to, std::size_t size) {
    std::size_t have = std::min(size, end_ - begin_);
    std::memcpy(to, input_ + begin_, have);
    begin_ += have;
    while (have < size) {
      const ssize_t got = recv(socket_, to + have, size - have + ahead, 0);
      if (got <= 0)
        die("recv");
      const std::size_t here = std::min(std::size_t(got), size - have);
      begin_ = 0;
      end_ = std::size_t(got) - here;
      std::memcpy(input_, to + have + here, end_);
      have += here;
    }
  }
  void skip(std::size_t size) {
    std::vector<char> nowhere(size + ahead);
    read(nowhere.data(), size);
  }
  void finish() {
    put(std::string("\x88\x82\0\0\0\0\x03\xe8", 8));
    while (recv(socket_, input_, sizeof input_, 0) > 0) {
    }
  }
  static constexpr std::size_t ahead = 512;

private:
  void put(std::string_view bytes) {
    if (::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) != ssize_t(bytes.size()))
      die("send");
  }
  void get() {
    if (begin_ > 0) {
      std::memmove(input_, input_ + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    const ssize_t got = recv(socket_, input_ + end_, sizeof input_ - end_, 0);
    if (got <= 0)
      die("recv");
    end_ += std::size_t(got);
  }

  int socket_;
  char input_[4096];
  std::size_t begin_ = 0, end_ = 0;
};

std::string number(std::uint32_t value) {
  return {'\xce', char(value >> 24), char(value >> 16), char(value >> 8), char(value)};
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 4)
    die("usage: bare URL connect N | blob BYTES N");
  const std::string url = argv[1], workload = argv[2];
  meter times;
  if (workload == "connect") {
    const long n = std::atol(argv[3]);
    times.begin();
    for (long i = 0; i < n; i++) {
      times.start_lap();
      {
        sleeper idle;
        connection server(url);
        std::thread reader([&idle] { idle.sleep(); });
        server.finish();
        idle.wake();
        reader.join();
      }
      times.end_lap();
    }
    times.ops = times.check = double(n);
  } else if (workload == "blob" && argc > 4) {
    const std::size_t size = std::size_t(std::atol(argv[3]));
    const long n = std::atol(argv[4]);
    std::vector<char> blob(size + 512 + connection::ahead);
    connection server(url);
    times.begin();
    server.send("\x84\xa6wslink\xa3"
                "1.0\xa2id\xa8rpc:c0:1\xa6method\xb2"
                "bench.publish.blob\xa4"
                "args\x93\xaa"
                "bench.blob" +
                number(std::uint32_t(n)) + number(std::uint32_t(size)));
    for (long i = 0; i < n;) {
      const std::size_t payload = server.next();
      if (payload + connection::ahead > blob.size())
        die("a frame that is too large");
      server.read(blob.data(), payload);
      if (payload > size) {
        times.bytes += double(size);
        i++;
      }
    }
    times.ops = times.check = double(n);
  } else {
    die("no such workload");
  }
  times.report("bare", 2, argc, argv);
}
