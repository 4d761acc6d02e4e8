// The wrapper in a program without exceptions and RTTI. Build with -fno-exceptions -fno-rtti.

#include "check.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>

namespace {

using namespace std::chrono_literals;

TEST(this_program_is_built_without_exceptions_and_rtti) {
  CHECK(!WSLINK_CPP_EXCEPTIONS);
#ifdef __cpp_rtti
  CHECK(false);
#endif
}

SERVER_TEST(everything_works_with_an_error_argument) {
  wslink::error err;
  wslink::config config(url, &err);
  CHECK(!err);
  config.connect_timeout(20s, &err).header("X-Test", "1", &err);
  CHECK(!err);
  int states = 0;
  config.on_state([&](const wslink::state_change &) { ++states; }, &err);
  const wslink::session session(config, &err);
  CHECK(session.connect(&err) && !err);

  CHECK_EQ(session.call("myprotocol.add", {1, 2, 3}, &err).get<int>(&err), 6);
  CHECK(!err);
  const wslink::document echo = session.call("test.echo", std::vector<double>{0.5}, wslink::map({"k", "v"}), &err);
  CHECK_EQ(echo["args"][1]["k"].get<std::string>(&err), "v");
  CHECK(echo["args"][0].get<std::vector<double>>(&err) == std::vector<double>{0.5} && !err);
  CHECK(echo["args"].get<int>(&err) == 0 && err.code() == wslink::code::kind);
  CHECK(!session.call("test.raise", &err) && err.code() == wslink::code::remote);

  int sum = 0;
  CHECK(session.request("myprotocol.add", {1, 2}).then([&](wslink::outcome &&o) { sum = o.get<int>(&err); }, &err));
  CHECK(session.dispatch_until([&] { return sum == 3; }, 20s, &err) && !err);
  auto future = session.request("test.raise").future<wslink::outcome>(&err);
  CHECK(session.dispatch_until(future, 20s, &err));
  wslink::outcome failed = future.get();
  CHECK(!failed && failed.failure().code() == wslink::code::remote);
  CHECK(!failed.take(&err) && err.code() == wslink::code::remote);
  CHECK(failed.get<int>(&err) == 0 && err.code() == wslink::code::remote && !failed.result(&err));

  int heard = 0;
  auto sub = session.subscribe(
      "t.noexcept",
      [&](const wslink::publication &p) {
        wslink::error wrong;
        heard += p ? p.result(&wrong)["i"].get<int>(&wrong) : 100;
      },
      wslink::keep_all(), &err);
  session.call("test.publish", "t.noexcept", 3, &err);
  session.call("test.publish.bad", "t.noexcept", &err);
  CHECK(session.dispatch_until([&] { return heard == 103; }, 20s, &err));
  CHECK_EQ(sub.counts(&err).delivered, 4);
  sub.reset();

  CHECK_EQ(session.call("test.sum", wslink::by_reference(check::pattern(1000)), &err)["len"].get<int>(&err), 1000);
  wslink::args args;
  args.add(std::string("\xff")).add(1);
  CHECK(!session.call("test.echo", std::move(args), &err) && err.code() == wslink::code::utf8);
  CHECK(session.close(3s, &err) && !err && states > 0);
  CHECK(!session.call("test.info", &err) && err.code() == wslink::code::closed);
}

SERVER_TEST(sessions_end_in_their_callbacks) {
  wslink::error err;
  auto session = std::make_unique<wslink::session>(check::ready(url));
  session->request("test.info").then([&](wslink::outcome &&) { session.reset(); }, &err);
  CHECK(!session->dispatch_until([] { return false; }, 20s, &err) && !session);
}

TEST(a_failure_that_nobody_takes_goes_to_the_hook_and_ends_the_program) {
  const pid_t child = fork();
  if (child == 0) {
    wslink::set_failure_hook([](const wslink::error &why) {
      if (why.code() == wslink::code::argument && *why.message())
        return;
      std::_Exit(1);
    });
    std::signal(SIGABRT, [](int) { std::_Exit(78); });
    const wslink::config bad("nonsense");
    std::_Exit(2);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 78);
}

} // namespace
