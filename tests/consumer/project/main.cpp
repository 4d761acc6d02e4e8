// A user's program in C++.
#include <cstdio>
#include <wslink.hpp>

int main() {
  wslink::error error;
  wslink::config config("http://localhost/ws", &error);
  const bool refused = error.code() == wslink::code::argument;
  try {
    wslink::session session(wslink::config("ws://localhost/ws"));
  } catch (const wslink::exception &e) {
    std::printf("wslink %s in C++: %s\n", wslink_version_text(), e.what());
    return 1;
  }
  std::printf("wslink %s in C++: %s\n", wslink_version_text(), refused ? "works" : "took a bad URL");
  return refused ? 0 : 1;
}
