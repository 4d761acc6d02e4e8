// Launchers: the real one of both protocols.

#include <chrono>
#include <thread>

#include "check.hpp"

namespace {

using namespace std::chrono_literals;

// The real launcher, which has one place for a server, and its URL. It ends with this.
struct real_launcher {
  wslink::process process;
  wslink::session session;
  std::string url;

  explicit real_launcher(int protocol) : process(command(protocol)), session(config()) {
    wslink::error err;
    // It is started like a server; that there is no WebSocket is no harm.
    session.connect(&err);
    CHECK(err.code() == wslink::code::upgrade);
    url = process.url();
    MUST(url.rfind("ws://", 0) == 0);
    url = "http" + url.substr(2, url.size() - 5);
  }

  static std::vector<std::string> command(int protocol) {
    const char *python = std::getenv(protocol == 1 ? "WSLINK_TEST_PYTHON_V1" : "WSLINK_TEST_PYTHON_V2");
    const char *app = std::getenv("WSLINK_TEST_APP");
    MUST(python && app);
    std::string script = app;
    script.replace(script.rfind("app.py"), 6, "launcher.py");
    return {python, "-B", script, "--ignore-stdin"};
  }

  wslink::config config() {
    wslink::config made = process.printed_port("READY ")
                              .environment("WSLINK_LAUNCHER_DELETE", "1")
                              .environment("WSLINK_LAUNCHER_GET", "1")
                              .config();
    made.connect_timeout(60s);
    return made;
  }
};

SERVER_TEST(a_session_is_launched) {
  real_launcher real(url.protocol);
  wslink::launcher launcher(real.url);
  std::vector<std::pair<std::uint32_t, wslink::code>> attempts;
  launcher.timeout(60s).retry_delays({1ms, 2ms}).on_progress([&](std::uint32_t attempt, const wslink::error &reason) {
    attempts.emplace_back(attempt, reason.code());
  });
  wslink::launched server = launcher.open({{"application", "test"}, {"size", {640, 480}}});
  CHECK(static_cast<bool>(server));
  CHECK_EQ(server.answer().root()["application"].get<std::string>(), "test");
  CHECK_EQ(server.answer().root()["id"].get<std::string>(), server.id());
  {
    wslink::session session(server.config());
    session.connect();
    CHECK_EQ(static_cast<int>(session.protocol()), url.protocol);
    CHECK_EQ(session.call("myprotocol.add", wslink::list(1, 2, 3)).get<int>(), 6);
  }
  CHECK_EQ(launcher.status(server.id()).url(), server.url());

  wslink::error why;
  wslink::args members;
  members.add_json_keywords("{\"application\": \"test\"}");
  CHECK(!launcher.open(std::move(members), &why));
  CHECK(why.code() == wslink::code::launcher && why.stage() == wslink::stage::launcher);
  CHECK_EQ(why.http_status(), 503);
  CHECK(std::string(why.message()).find("currently taken") != std::string::npos);
  CHECK(attempts ==
        decltype(attempts)(
            {{1, wslink::code::ok}, {1, wslink::code::ok}, {2, wslink::code::launcher}, {3, wslink::code::launcher}}));

  launcher.close(server.id());
  FAILS(launcher, launcher.status(server.id(), &err));
  FAILS(launcher, launcher.close(server.id(), &err));
  THROWS(launcher, launcher.status(server.id()));
  THROWS(launcher, launcher.open({{"application", "unknown"}}));
}

SERVER_TEST(a_server_without_a_launcher_is_told) {
  const wslink::launcher launcher("http" + url.text.substr(2, url.text.size() - 5));
  wslink::error err;
  launcher.open({{"application", "test"}}, &err);
  CHECK(err.code() == wslink::code::launcher);
  CHECK(std::string(err.message()).find(url.text) != std::string::npos);
}

TEST(options_are_those_of_the_config) {
  wslink::config options = wslink::launcher::options("http://127.0.0.1:9");
  options.proxy("http://127.0.0.1:9");
  const wslink::launcher launcher(options);
  FAILS(connect, launcher.open({{"application", "x"}}, &err));
}

TEST(another_thread_cancels) {
  wslink::launcher launcher("http://127.0.0.1:9");
  launcher.retry_delays({10min});
  std::thread canceller;
  launcher.on_progress([&](std::uint32_t attempt, const wslink::error &) {
    if (attempt == 2)
      canceller = std::thread([&] { launcher.cancel(); });
  });
  FAILS(cancelled, launcher.open({{"application", "x"}}, &err));
  canceller.join();
}

TEST(what_cannot_work_is_an_error) {
  THROWS(argument, wslink::launcher("ws://host"));
  THROWS(argument, wslink::launcher(std::string("http://a\0b", 10)));
  THROWS(argument, wslink::launcher(wslink::config("ws://host")));
  FAILS(argument, wslink::launcher("ws://host", &err));
  FAILS(argument, wslink::session(wslink::launcher::options("http://host"), &err));
  wslink::launcher launcher("http://host");
  FAILS(argument, launcher.open(std::move(wslink::args().add(1)), &err));
  FAILS(json, launcher.open(std::move(wslink::args().add_json_keywords("{")), &err));
  FAILS(argument, launcher.status(std::string("a\0b", 3), &err));
  FAILS(argument, launcher.close(std::string("a\0b", 3), &err));
}

TEST(moved_objects_are_empty_and_harmless) {
  wslink::launcher launcher("http://host");
  wslink::launcher moved = std::move(launcher);
  CHECK(!launcher && moved);
  FAILS(null, launcher.open({{"application", "x"}}, &err));
  FAILS(null, launcher.timeout(1s, &err));
  wslink::config options = wslink::launcher::options("http://host");
  const wslink::config other = std::move(options);
  FAILS(null, wslink::launcher(options, &err));
  launcher.cancel();
  launcher = std::move(moved);
  CHECK(static_cast<bool>(launcher));
  wslink::launched none;
  CHECK(!none && none.id().empty() && none.url().empty() && !none.answer());
  FAILS(null, none.config(&err));
}

} // namespace
