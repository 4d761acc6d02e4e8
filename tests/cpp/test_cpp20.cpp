// Features of C++20: coroutines, std::stop_token, std::span. Build with -std=c++20.

#include "check.hpp"

#if __cplusplus < 202002L

TEST(this_program_is_built_as_cpp20) { CHECK(false); }

#else

#include <memory>
#include <span>
#include <thread>

namespace {

using namespace std::chrono_literals;

SERVER_TEST(spans_are_sent_and_views_convert_to_them) {
  const wslink::session session = check::ready(url);
  const std::vector<double> numbers{1.5, -0.0};
  const wslink::document echo =
      session.call("test.echo", std::span(numbers), std::span<const double>(numbers).first(1));
  CHECK(echo["args"][0].get<std::vector<double>>() == numbers && echo["args"][1].size() == 1);
  const wslink::document bytes = session.call("test.bytes", 100, 1);
  const std::span<const std::uint8_t> span = bytes.get<wslink::bytes_view>();
  CHECK(span.size() == 100 && span[1] == check::pattern_at(1, 1));
  const auto raw = std::as_bytes(span);
  CHECK_EQ(session.call("test.sum", raw)["len"].get<int>(), 100);
}

#if WSLINK_CPP_STOP_TOKEN

SERVER_TEST(a_stop_cancels_a_call) {
  const wslink::session session = check::ready(url);
  std::stop_source stop;
  wslink::code outcome = wslink::code::ok;
  int completions = 0;
  const auto then = [&](wslink::outcome &&o) {
    ++completions;
    outcome = o.failure().code();
  };
  CHECK(session.request("test.sleep", 20).then(then, stop.get_token()) != 0);
  stop.request_stop();
  CHECK(session.dispatch_until([&] { return completions == 1; }, 20s));
  CHECK_EQ(outcome, wslink::code::cancelled);

  // Stop was requested before: still exactly one outcome, and not inside the function.
  auto future = session.request("test.info").future(stop.get_token());
  CHECK(session.dispatch_until(future, 20s));
  THROWS(cancelled, future.get());

  // Stop was requested after the completion: nothing happens.
  const wslink::session other = check::ready(url);
  std::stop_source late;
  auto reply = other.request("myprotocol.add", {1, 2}).future(late.get_token());
  CHECK(other.dispatch_until(reply, 20s));
  late.request_stop();
  CHECK_EQ(reply.get().get<int>(), 3);

  // The call is refused: the callable is destroyed, and no stop callback is left.
  std::atomic<int> alive{0};
  wslink::session idle{wslink::config(url)};
  std::stop_source unused;
  FAILS(state, CHECK_EQ(idle.request("m").then([mark = check::counted(alive)](wslink::outcome &&) {},
                                               unused.get_token(), &err),
                        0));
  CHECK_EQ(alive, 0);
  unused.request_stop();
}

SERVER_TEST(stops_race_with_replies_on_the_io_thread) {
  const wslink::session session = check::ready(url, wslink::delivery::io_thread);
  for (int i = 0; i < 200; ++i) {
    std::stop_source stop;
    auto future = session.request("myprotocol.add", {i, 1}).future<wslink::outcome>(stop.get_token());
    std::thread other([&] { stop.request_stop(); });
    const wslink::outcome outcome = future.get();
    other.join();
    CHECK(outcome || outcome.failure().code() == wslink::code::cancelled);
    if (outcome)
      CHECK_EQ(outcome.get<int>(), i + 1);
  }
}

SERVER_TEST(the_end_of_a_session_lets_stop_callbacks_go) {
  std::stop_source stop;
  wslink::code outcome = wslink::code::ok;
  {
    const wslink::session session = check::ready(url);
    session.request("test.sleep", 20)
        .then([&](wslink::outcome &&o) { outcome = o.failure().code(); }, stop.get_token());
  }
  CHECK_EQ(outcome, wslink::code::closed);
  stop.request_stop(); // has no effect
}

#endif

#if WSLINK_CPP_COROUTINES

// A minimal coroutine: it runs at once, and keeps its frame until it is destroyed.
struct task {
  struct promise_type {
    task get_return_object() { return task(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() { done = true; }
    void unhandled_exception() { thrown = std::current_exception(); }
    std::atomic<bool> done{false};
    std::exception_ptr thrown;
  };
  explicit task(std::coroutine_handle<promise_type> h) : handle(h) {}
  task(task &&other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
  ~task() {
    if (handle)
      handle.destroy();
  }
  bool done() const { return handle.done(); }
  std::coroutine_handle<promise_type> handle;
};

task add_twice(const wslink::session &session, int &sum) {
  const wslink::document first = co_await session.request("myprotocol.add", wslink::list(1, 2));
  const wslink::document second =
      co_await session.request("myprotocol.add", wslink::list(first.get<int>(), 10)).timeout(20s).await();
  sum = second.get<int>();
}

SERVER_TEST(a_coroutine_awaits_replies) {
  const wslink::session session = check::ready(url);
  int sum = 0;
  const task running = add_twice(session, sum);
  CHECK(!running.done());
  CHECK(session.dispatch_until([&] { return running.done(); }, 20s));
  CHECK(sum == 13 && !running.handle.promise().thrown);
}

SERVER_TEST(a_coroutine_goes_on_where_callbacks_run) {
  const wslink::session session = check::ready(url, wslink::delivery::io_thread);
  std::promise<std::thread::id> where;
  const auto coroutine = [](const wslink::session &s, std::promise<std::thread::id> &to) -> task {
    for (int i = 0; i < 100; ++i)
      co_await s.request("myprotocol.add", wslink::list(i));
    to.set_value(std::this_thread::get_id());
  };
  const task running = coroutine(session, where);
  CHECK(where.get_future().get() != std::this_thread::get_id());
  session.close(); // the I/O thread leaves the coroutine before this closes the session
}

SERVER_TEST(failures_reach_a_coroutine_in_both_styles) {
  const wslink::session session = check::ready(url);
  wslink::code thrown = wslink::code::ok, told = wslink::code::ok, sticky = wslink::code::ok, inside = wslink::code::ok;
  bool cleared = false;
  const auto coroutine = [&]() -> task {
    try {
      co_await session.request("test.raise");
    } catch (const wslink::exception &e) {
      thrown = e.code();
    }
    wslink::error err;
    CHECK(!co_await session.request("test.raise").await(&err));
    told = err.code();
    co_await session.request("myprotocol.add", wslink::list(1), &err);
    cleared = !err;
    co_await session.request("test.echo", "\xff", &err); // never sent, so the coroutine does not suspend
    inside = err.code();
    co_await session.request("test.sleep", 20, wslink::timeout(20ms), &err);
    sticky = err.code();
  };
  const task running = coroutine();
  CHECK(session.dispatch_until([&] { return running.done(); }, 20s));
  CHECK(thrown == wslink::code::remote && told == wslink::code::remote && cleared);
  CHECK(inside == wslink::code::utf8 && sticky == wslink::code::timeout);
}

#if WSLINK_CPP_STOP_TOKEN
SERVER_TEST(an_awaited_call_is_stopped) {
  const wslink::session session = check::ready(url);
  wslink::code stopped = wslink::code::ok;
  const auto sleeper = [&](std::stop_token token) -> task {
    wslink::error err;
    co_await session.request("test.sleep", 20).await(std::move(token), &err);
    stopped = err.code();
  };
  std::stop_source stop;
  const task running = sleeper(stop.get_token());
  stop.request_stop();
  CHECK(session.dispatch_until([&] { return running.done(); }, 20s));
  CHECK_EQ(stopped, wslink::code::cancelled);
}
#endif

SERVER_TEST(an_awaited_call_is_closed_and_abandoned) {
  const auto sleeper = [](const wslink::session &s, wslink::code &out) -> task {
    wslink::error err;
    co_await s.request("test.sleep", 20).await(&err);
    out = err.code();
  };
  wslink::code closed = wslink::code::ok, never = wslink::code::ok;
  auto session = std::make_unique<wslink::session>(check::ready(url));
  { const task dropped = sleeper(*session, never); }
  CHECK(session->dispatch_until([&] { return session->stats().calls_in_flight == 0; }, 20s)); // cancelled
  session->dispatch();
  const task second = sleeper(*session, closed);
  session.reset(); // the coroutine resumes here
  CHECK(second.done() && closed == wslink::code::closed && never == wslink::code::ok);
}

SERVER_TEST(a_coroutine_may_end_its_session) {
  auto session = std::make_unique<wslink::session>(check::ready(url));
  const auto coroutine = [&]() -> task {
    co_await session->request("test.info");
    session.reset();
  };
  const task running = coroutine();
  CHECK(!session->dispatch_until([] { return false; }, 20s));
  CHECK(running.done() && !session);
}

#endif

TEST(features_of_the_compiler) {
  std::printf("  stop tokens: %s, coroutines: %s\n", WSLINK_CPP_STOP_TOKEN ? "yes" : "not in this compiler",
              WSLINK_CPP_COROUTINES ? "yes" : "not in this compiler");
#if defined(__GNUC__) && !defined(__clang__)
  CHECK(WSLINK_CPP_STOP_TOKEN && WSLINK_CPP_COROUTINES);
#endif
}

} // namespace

#endif
