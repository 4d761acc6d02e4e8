// Servers that a session starts, and servers that open the connection themselves, of both protocols.

#include <chrono>
#include <mutex>
#include <thread>

#include "check.hpp"

namespace {

using namespace std::chrono_literals;

// The test application, which runs until it is ended.
std::vector<std::string> command(const check::server &url) {
  const char *python = std::getenv(url.protocol == 1 ? "WSLINK_TEST_PYTHON_V1" : "WSLINK_TEST_PYTHON_V2");
  const char *app = std::getenv("WSLINK_TEST_APP");
  MUST(python && app);
  return {python, "-B", app, "--ignore-stdin"};
}

wslink::config patient(wslink::config config) {
  config.connect_timeout(60s);
  return config;
}

int add(const wslink::session &session) { return session.call("myprotocol.add", wslink::list(1, 2, 3)).get<int>(); }

SERVER_TEST(a_session_starts_its_server) {
  for (int way = 0; way < 3; ++way) {
    std::vector<std::string> words = command(url);
    words.insert(words.end(), {"--authKey", "{secret}"});
    wslink::process server(words);
    if (way == 1)
      server.printed_port("READY ");
    if (way == 2)
      server.chosen_port();
    CHECK_EQ(server.id(), 0u);
    wslink::session session(patient(server.config()));
    session.connect();
    CHECK_EQ(static_cast<int>(session.protocol()), url.protocol);
    CHECK_EQ(add(session), 6);
    CHECK(server.id() != 0);
    server.end();
    CHECK_EQ(server.id(), 0u);
  }
}

SERVER_TEST(a_server_that_is_killed_is_started_again) {
  wslink::process server(command(url));
  wslink::config config = patient(server.config());
  wslink::reconnect_policy quick;
  quick.first_delay = 1ms;
  quick.longest_delay = 1ms;
  config.reconnect(quick);
  wslink::session session(config);
  int seen = 0;
  auto subscription = session.subscribe("topic", [&](const wslink::publication &) { ++seen; });
  session.connect();
  const std::uint32_t first = server.id();
  server.end();
  const auto until = std::chrono::steady_clock::now() + 60s;
  // The session may not have noticed yet that the former server has ended.
  const auto is_back = [&] {
    return server.id() != first && server.id() != 0 && session.state() == wslink::state::ready;
  };
  while (!is_back() && std::chrono::steady_clock::now() < until)
    session.dispatch(10ms);
  CHECK(is_back());
  session.call("test.publish", "topic", 3);
  CHECK(session.dispatch_until([&] { return seen == 3; }, 30s));
}

SERVER_TEST(a_server_connects_to_a_listener) {
  wslink::listener listener;
  CHECK(listener.port() != 0);
  const wslink::config config = patient(listener.accept());
  CHECK_EQ(config.reverse_url().rfind("ws://127.0.0.1:" + std::to_string(listener.port()) + "/", 0), 0u);
  // Somebody starts the server: here another session's process, which only has to run.
  std::vector<std::string> words = command(url);
  words.insert(words.end(), {"--reverse-url", config.reverse_url()});
  wslink::process server(words);
  server.printed_port("READY-NEVER");
  wslink::session starter(server.config());
  starter.begin_connect();
  wslink::session session(config);
  listener = wslink::listener(); // the session keeps the former one
  session.connect();
  CHECK_EQ(static_cast<int>(session.protocol()), url.protocol);
  CHECK_EQ(add(session), 6);
}

TEST(what_cannot_work_is_an_error) {
  THROWS(argument, wslink::process({}));
  THROWS(argument, wslink::process({std::string("a\0b", 3)}));
  wslink::process missing({"/no/such/program"});
  wslink::session never(missing.config());
  FAILS(argument, never.connect(&err));
  FAILS(state, missing.folder("/", &err)); // after config()

  std::mutex mutex;
  std::vector<std::string> lines;
  wslink::process loud({"sh", "-c", "echo one; echo two >&2; echo $NAME; exit 7"});
  loud.environment("NAME", "three").folder("/").end_timeout(1s).path("/ws").on_line([&](const char *line, bool) {
    const std::lock_guard<std::mutex> lock(mutex);
    lines.emplace_back(line);
  });
  FAILS(argument, loud.environment("a=b", "", &err));
  FAILS(argument, loud.path("no slash", &err));
  wslink::session ends(loud.config());
  wslink::error why;
  ends.connect(&why);
  CHECK(why.code() == wslink::code::connect);
  CHECK(std::string(why.message()).find("exit status: 7") != std::string::npos);
  CHECK_EQ(lines.size(), 3u);

  wslink::listener_options options;
  options.address = "0.0.0.0";
  THROWS(argument, wslink::listener(options));
  options.address = "not an address";
  THROWS(argument, wslink::listener(options));
  options.address.clear();
  options.certificate_pem = "no certificate";
  THROWS(argument, wslink::listener(options));
  options.key_pem = "no key";
  THROWS(argument, wslink::listener(options));

  wslink::listener listener;
  wslink::config config = listener.accept();
  config.connect_timeout(20ms);
  wslink::session nobody(config);
  FAILS(timeout, nobody.connect(&err));
  CHECK_EQ(wslink::config("ws://localhost/ws").reverse_url(), "");
  CHECK_EQ(listener.refused(), 0u);
}

TEST(moved_objects_are_empty_and_harmless) {
  wslink::listener listener;
  wslink::listener other(std::move(listener));
  CHECK(other.port() != 0 && listener.port() == 0);
  FAILS(null, (void)listener.accept(&err));
  wslink::process process({"true"});
  wslink::process second(std::move(process));
  CHECK(process.id() == 0);
  process.end();
  FAILS(null, (void)process.config(&err));
}

} // namespace
