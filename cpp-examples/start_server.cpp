// Starts a wslink server as a child process, calls it, and ends it.
//
//   start_server python3 app.py [arguments of the server...]
#include <wslink.hpp>

#include <iostream>

int main(int argc, char **argv) {
  if (argc < 3) {
    std::cerr << "usage: start_server python3 app.py [arguments of the server...]\n";
    return 2;
  }
  try {
    wslink::process server(std::vector<std::string>(argv + 1, argv + argc));
    server.on_line([](const char *line, bool) { std::cerr << "server: " << line << "\n"; });
    wslink::session session(server.config());
    session.connect(); // starts the server, and waits until it has connected
    std::cout << "server " << server.id() << " speaks protocol " << static_cast<int>(session.protocol()) << "\n";
    std::cout << "1 + 2 + 3 = " << session.call("myprotocol.add", wslink::list(1, 2, 3)).get<int>() << "\n";
  } catch (const wslink::exception &e) {
    std::cerr << "start_server: " << e.what() << "\n";
    return 1;
  } // the server has ended here
}
