// Lets a server open the connection: prints the option with which it has to be started, waits for it, and makes a call.
//
//     listen [SECONDS TO WAIT]

#include <cstdio>
#include <cstdlib>
#include <string>

#include <wslink.hpp>

int main(int argc, char **argv) {
  try {
    const wslink::listener listener; // at 127.0.0.1; listener_options has other addresses, and TLS
    wslink::config config = listener.accept();
    config.connect_timeout(std::chrono::seconds(argc > 1 ? std::atoi(argv[1]) : 600));
    std::printf("start the server: python3 server.py --reverse-url %s\n", config.reverse_url().c_str());
    std::fflush(stdout);

    const wslink::session session(config);
    session.connect(); // waits for the server
    const int sum = session.call("myprotocol.add", {1, 2, 3}).get<int>();
    std::printf("1 + 2 + 3 = %d\n", sum);
    session.close();
    return 0;
  } catch (const wslink::exception &e) {
    std::fprintf(stderr, "listen: %s\n", e.what());
    return 1;
  }
}
