// A program in the style of Kitware's C++ client, with the class of wslink/compat: it sends its words to the server's
// chat, and ends when it has received the last one.
//
//     chat ws://localhost:8080/ws hello world

#include <wslink/compat/wsWebsocketConnection.h>

#include <cstdio>
#include <future>
#include <iostream>
#include <string>

int main(int argc, char **argv) {
  char host[256], port[8], target[256];
  if (argc < 3 || std::sscanf(argv[1], "ws://%255[^:]:%7[^/]%255s", host, port, target) != 3) {
    std::cerr << "usage: chat ws://host:port/target word...\n";
    return 2;
  }
  const std::string farewell = "py server: " + std::string(argv[argc - 1]);
  std::promise<void> heard;

  wsWebsocketConnection ws{"wslink-secret"};
  ws.subscribe("wslink.communication.channel", [&](const json &message) {
    std::cout << message["id"] << " -> " << message["result"] << std::endl;
    if (message["result"] == farewell)
      heard.set_value();
  });
  if (!ws.connect(host, port, target)) {
    std::string why;
    ws.GetErrorText(why);
    std::cerr << why << "\n";
    return 1;
  }

  json result;
  ws.send("wslink.start.talking", nullptr);
  for (int i = 2; i < argc; ++i) {
    json args = {argv[i]};
    if (!ws.send("wslink.say.hello", &result, &args) || result["result"] != "py server: " + std::string(argv[i]))
      return 1;
  }
  if (heard.get_future().wait_for(std::chrono::minutes(1)) != std::future_status::ready)
    return 1;
  return ws.send("wslink.stop.talking", &result) && ws.close() ? 0 : 1;
}
