// One thread with one poll() for stdin and the session: sends each line of stdin to the server of chat-rpc-pub-sub, and
// prints publications and replies as they arrive. Ends at the end of stdin, after the last reply. For POSIX systems.
//
//     poll_loop ws://localhost:8080/ws

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <string>

#include <wslink.hpp>

namespace {

// Calls `line` for each line that can be read from stdin now; false at the end of stdin.
template <class Line>
bool read_lines(std::string &rest, Line &&line) {
  char piece[4096];
  const ssize_t count = read(STDIN_FILENO, piece, sizeof piece);
  if (count <= 0)
    return false;
  rest.append(piece, static_cast<std::size_t>(count));
  for (std::size_t end; (end = rest.find('\n')) != rest.npos; rest.erase(0, end + 1))
    line(rest.substr(0, end));
  return true;
}

void run(const char *url) {
  const wslink::session session(url);
  const auto channel = session.subscribe("wslink.communication.channel", [](const wslink::publication &said) {
    std::printf("heard: %s\n", said.get<std::string>().c_str());
  });
  session.connect();

  int unanswered = 0;
  std::string rest;
  bool more = true;
  const auto say = [&](const std::string &line) {
    session.request("wslink.say.hello", line).timeout(std::chrono::seconds(10)).then([&](wslink::outcome &&answer) {
      --unanswered;
      std::printf("answer: %s\n",
                  answer.get<std::string>().c_str()); // throws a failure, which dispatch() rethrows
    });
    ++unanswered;
  };

  while (more || unanswered > 0) {
    // The descriptor is readable while there are events to dispatch. poll() ignores a negative descriptor.
    pollfd watched[] = {{session.descriptor(), POLLIN, 0}, {more ? STDIN_FILENO : -1, POLLIN, 0}};
    if (poll(watched, 2, -1) < 0)
      continue; // a signal
    if (watched[0].revents)
      session.dispatch();
    if (watched[1].revents)
      more = read_lines(rest, say);
    std::fflush(stdout);
  }
  session.close();
}

} // namespace

int main(int argc, char **argv) {
  try {
    run(argc > 1 ? argv[1] : "ws://localhost:8080/ws");
    std::printf("bye\n");
    return 0;
  } catch (const std::exception &e) {
    std::fprintf(stderr, "poll_loop: %s\n", e.what());
    return 1;
  }
}
