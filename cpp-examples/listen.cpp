// Waits for a wslink server that opens the connection itself, and calls it.
//
//   listen [port]
#include <wslink.hpp>

#include <cstdlib>
#include <iostream>

int main(int argc, char **argv) {
  using namespace std::chrono_literals;
  try {
    wslink::listener_options options;
    options.port = static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0);
    wslink::listener listener(options);
    wslink::config config = listener.config();
    config.connect_timeout(10min);
    std::cout << "start a server with: --reverse-url " << config.reverse_url() << std::endl;
    wslink::session session(config);
    session.connect(); // waits for the server
    std::cout << "1 + 2 + 3 = " << session.call("myprotocol.add", wslink::list(1, 2, 3)).get<int>() << "\n";
  } catch (const wslink::exception &e) {
    std::cerr << "listen: " << e.what() << "\n";
    return 1;
  }
}
