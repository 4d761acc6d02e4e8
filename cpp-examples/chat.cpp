// A client of wslink's own example chat-rpc-pub-sub: prints the publications on the channel, sends each line of stdin,
// and asks the server to stop talking at the end.
//
//     chat ws://localhost:8080/ws

#include <cstdio>
#include <iostream>
#include <string>

#include <wslink.hpp>

int main(int argc, char **argv) {
  const char *url = argc > 1 ? argv[1] : "ws://localhost:8080/ws";
  try {
    // The main thread waits for stdin, so the I/O thread prints the messages as they arrive.
    wslink::session session(wslink::config(url).delivery(wslink::delivery::io_thread));

    // Kept in a variable, because the subscription ends when this object is destroyed.
    const wslink::subscription channel =
        session.subscribe("wslink.communication.channel", [](const wslink::publication &said) {
          std::printf("heard: %s\n", said.get<std::string>().c_str());
          std::fflush(stdout);
        });

    session.connect();
    session.call("wslink.start.talking");

    for (std::string line; std::getline(std::cin, line);) {
      const auto answer = session.call("wslink.say.hello", line, wslink::timeout(std::chrono::seconds(10)));
      std::printf("answer: %s\n", answer.get<std::string>().c_str());
    }

    session.call("wslink.stop.talking");
    session.close();
    return 0;
  } catch (const wslink::exception &e) {
    std::fprintf(stderr, "chat: %s\n", e.what());
    return 1;
  }
}
