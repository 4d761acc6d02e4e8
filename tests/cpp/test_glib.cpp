// The dispatcher of the GLib adapter: objects destroyed inside callbacks, no lost events, GBytes in both directions.

#include <wslink/adapters/glib.hpp>
#include <wslink/adapters/glib.hpp> // twice does no harm

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <stdexcept>
#include <thread>

#include "check.hpp"

namespace {

using namespace std::chrono_literals;

// A GLib warning ends the program.
[[maybe_unused]] const GLogLevelFlags fatal =
    g_log_set_always_fatal(static_cast<GLogLevelFlags>(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING));

// Runs the loop of a context (nullptr: the default one) until `done()`; false after a timeout.
bool run_until(const std::function<bool()> &done, GMainContext *context = nullptr) {
  bool late = false;
  GSource *limit = g_timeout_source_new_seconds(30);
  const auto end = [](gpointer flag) -> gboolean {
    *static_cast<bool *>(flag) = true;
    return G_SOURCE_REMOVE;
  };
  g_source_set_callback(limit, end, &late, nullptr);
  g_source_attach(limit, context);
  while (!done() && !late)
    g_main_context_iteration(context, TRUE);
  g_source_destroy(limit);
  g_source_unref(limit);
  return done();
}
// Handles the pending events, and those that they cause.
void settle(GMainContext *context = nullptr) {
  for (int i = 0; i < 10; ++i)
    g_main_context_iteration(context, FALSE);
}

// Waits, without dispatching, until `count` events are queued.
void wait_waiting(const wslink::session &session, std::uint64_t events) {
  while (session.stats().events_waiting < events)
    session.call("test.info");
}

// A ready session whose state changes were dispatched.
wslink::session ready(wslink::glib::dispatcher &dispatcher, const check::server &url) {
  wslink::config config(url);
  wslink::session session = dispatcher.make_session(config);
  session.connect();
  while (session.dispatch() > 0) {
  }
  return session;
}

SERVER_TEST(everything_comes_by_the_main_context) {
  wslink::glib::dispatcher dispatcher;
  wslink::config config(url);
  std::vector<wslink::state> states;
  std::vector<int> heard;
  int sum = 0;
  const auto here = std::this_thread::get_id();
  config.on_state([&](const wslink::state_change &now) {
    CHECK(std::this_thread::get_id() == here);
    states.push_back(now.state);
  });
  const wslink::session session = dispatcher.make_session(config);
  const auto sub = session.subscribe("t.glib", [&](const wslink::publication &p) {
    CHECK(std::this_thread::get_id() == here);
    heard.push_back(p.result()["i"].get<int>());
  });
  session.begin_connect();
  CHECK(run_until([&] { return !states.empty() && states.back() == wslink::state::ready; }));
  session.request("myprotocol.add", {1, 2, 3}).then([&](wslink::outcome &&o) { sum = o.get<int>(); });
  session.request("test.publish", "t.glib", 3).then([](wslink::outcome &&) {});
  CHECK(run_until([&] { return sum != 0 && heard.size() == 3; }));
  CHECK(sum == 6 && heard == std::vector<int>({0, 1, 2}));
  settle();
  CHECK(!g_main_context_pending(nullptr)); // an idle session does not keep the loop busy
  session.begin_close();
  CHECK(run_until([&] { return states.back() == wslink::state::closed; }));
}

SERVER_TEST(what_came_while_no_loop_ran_is_not_lost) {
  wslink::glib::dispatcher dispatcher;
  const wslink::session session = ready(dispatcher, url);
  struct {
    std::vector<int> heard;
    std::size_t at_other = 0;
  } seen;
  const auto sub = session.subscribe("t.glib", [&](const wslink::publication &p) {
    if (seen.heard.empty()) {
      const auto look = [](gpointer data) -> gboolean {
        auto *to = static_cast<decltype(seen) *>(data);
        to->at_other = to->heard.size();
        return G_SOURCE_REMOVE;
      };
      g_timeout_add(0, look, &seen);
    }
    seen.heard.push_back(p.result()["i"].get<int>());
  });
  session.call("test.publish", "t.glib", 1000);
  wait_waiting(session, 1000);
  CHECK(run_until([&] { return seen.heard.size() == 1000; }));
  for (int i = 0; i < 1000; ++i)
    MUST(seen.heard[static_cast<std::size_t>(i)] == i);
  CHECK(seen.at_other > 0 && seen.at_other < 1000); // other sources run although events are still queued
  CHECK_EQ(sub.counts().dropped, 0);
}

SERVER_TEST(a_session_ends_inside_its_own_callback) {
  wslink::glib::dispatcher dispatcher;
  auto session = std::make_unique<wslink::session>(ready(dispatcher, url));
  std::atomic<int> alive{0};
  std::vector<std::string> log;
  const auto done = [&](const char *name, bool end) {
    return [&log, &session, name, end, alive = check::counted(alive)](wslink::outcome &&o) {
      log.push_back(std::string(name) + (o ? " reply" : " failed"));
      if (end) {
        session.reset();
        log.emplace_back("ended");
      }
    };
  };
  session->request("test.info").then(done("first", true));
  session->request("test.info").then(done("second", false));
  wait_waiting(*session, 2);
  CHECK(run_until([&] { return !session; }));
  settle();
  CHECK((log == std::vector<std::string>{"first reply", "second failed", "ended"}));
  CHECK_EQ(alive.load(), 0);

  // The dispatcher serves another session.
  bool again = false;
  const wslink::session next = ready(dispatcher, url);
  next.request("test.info").then([&](wslink::outcome &&o) { again = static_cast<bool>(o); });
  CHECK(run_until([&] { return again; }));
}

SERVER_TEST(the_dispatcher_ends_inside_a_callback) {
  auto dispatcher = std::make_unique<wslink::glib::dispatcher>();
  const wslink::session session = ready(*dispatcher, url);
  int first = 0, second = 0;
  session.request("test.info").then([&](wslink::outcome &&) {
    ++first;
    dispatcher.reset();
  });
  session.request("test.info").then([&](wslink::outcome &&) { ++second; });
  wait_waiting(session, 2);
  CHECK(run_until([&] { return first == 1; }));
  settle();
  CHECK_EQ(second, 0); // no loop runs it
  CHECK_EQ(session.dispatch(), 1);
  CHECK_EQ(second, 1); // it was kept
}

struct window {
  wslink::glib::dispatcher dispatcher;
  wslink::session session;
  window(const check::server &url) : session(ready(dispatcher, url)) {}
};

SERVER_TEST(both_end_inside_a_callback_and_in_a_loop_inside_it) {
  auto shown = std::make_unique<window>(url);
  int calls = 0;
  shown->session.request("test.info").then([&](wslink::outcome &&) {
    ++calls;
    shown.reset();
  });
  CHECK(run_until([&] { return !shown; }));
  settle();
  CHECK_EQ(calls, 1);

  shown = std::make_unique<window>(url);
  bool returned = false;
  shown->session.request("test.info").then([&](wslink::outcome &&) {
    const auto end = [](gpointer data) -> gboolean {
      static_cast<decltype(shown) *>(data)->reset();
      return G_SOURCE_REMOVE;
    };
    g_timeout_add(0, end, &shown);
    CHECK(run_until([&] { return !shown; }));
    settle();
    returned = true;
  });
  CHECK(run_until([&] { return returned; }));
  settle();
}

SERVER_TEST(a_session_may_be_moved_and_replaced) {
  wslink::glib::dispatcher dispatcher;
  wslink::session first = ready(dispatcher, url);
  const wslink::session moved = std::move(first);
  int done = 0;
  const auto count = [&](wslink::outcome &&) { ++done; };
  moved.request("test.info").then(count);
  CHECK(run_until([&] { return done == 1; }));

  const wslink::session second = ready(dispatcher, url);
  moved.request("test.info").then(count);
  wait_waiting(moved, 1);
  settle();
  CHECK_EQ(done, 1); // not called again
  second.request("test.info").then(count);
  CHECK(run_until([&] { return done == 2; }));
  dispatcher.stop();
  dispatcher.stop();
  second.request("test.info").then(count);
  wait_waiting(second, 1);
  settle();
  CHECK_EQ(done, 2);
}

SERVER_TEST(a_loop_inside_a_callback_makes_the_session_wait) {
  wslink::glib::dispatcher dispatcher;
  const wslink::session session = ready(dispatcher, url);
  std::vector<std::string> log;
  session.request("test.info").then([&](wslink::outcome &&) {
    log.emplace_back("begin");
    session.request("test.info").then([&](wslink::outcome &&) { log.emplace_back("second"); });
    wait_waiting(session, 1);
    settle();
    log.emplace_back("end");
  });
  CHECK(run_until([&] { return log.size() == 3; }));
  CHECK((log == std::vector<std::string>{"begin", "end", "second"}));
}

std::vector<std::string> hooked;
void hook(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(std::move(thrown));
  } catch (const std::exception &e) {
    hooked.emplace_back(e.what());
  }
}

SERVER_TEST(exceptions_go_to_the_hook_and_not_through_glib) {
  wslink::set_exception_hook(hook);
  wslink::glib::dispatcher dispatcher;
  const wslink::session session = ready(dispatcher, url);
  session.request("test.info").then([](wslink::outcome &&) { throw std::runtime_error("first"); });
  session.request("test.info").then([](wslink::outcome &&) { throw std::runtime_error("second"); });
  CHECK(run_until([&] { return hooked.size() == 2; }));
  wslink::set_exception_hook(nullptr);
  CHECK((std::exchange(hooked, {}) == std::vector<std::string>{"first", "second"}));
}

SERVER_TEST(without_hook_an_exception_ends_the_program) {
  const pid_t child = fork();
  if (child == 0) {
    std::set_terminate([] { kill(getpid(), SIGKILL); });
    wslink::glib::dispatcher dispatcher;
    const wslink::session session = ready(dispatcher, url);
    session.request("test.info").then([](wslink::outcome &&) { throw std::runtime_error("nobody takes it"); });
    run_until([] { return false; });
    _exit(2);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

SERVER_TEST(a_context_of_another_thread) {
  GMainContext *context = g_main_context_new();
  int sum = 0;
  std::thread::id ran;
  {
    wslink::glib::dispatcher dispatcher(context, G_PRIORITY_LOW);
    const wslink::session session = ready(dispatcher, url);
    session.request("myprotocol.add", {4, 5}).then([&](wslink::outcome &&o) {
      ran = std::this_thread::get_id();
      sum = o.get<int>();
    });
    std::thread thread([&] { CHECK(run_until([&] { return sum != 0; }, context)); });
    const auto id = thread.get_id();
    thread.join();
    CHECK(sum == 9 && ran == id);
    g_main_context_unref(context); // the dispatcher has a reference
    session.call("test.info");
  }

  // The default is the context of the thread.
  context = g_main_context_new();
  g_main_context_push_thread_default(context);
  {
    wslink::glib::dispatcher dispatcher;
    const wslink::session session = ready(dispatcher, url);
    session.request("test.info").then([&](wslink::outcome &&) { sum = 0; });
    CHECK(run_until([&] { return sum == 0; }, context));
  }
  g_main_context_pop_thread_default(context);
  g_main_context_unref(context);
}

SERVER_TEST(what_cannot_be_dispatched_is_refused) {
  wslink::glib::dispatcher dispatcher;
  wslink::config config(url);
  config.delivery(wslink::delivery::io_thread);
  FAILS(state, CHECK(!dispatcher.make_session(config, &err)));
  THROWS(state, dispatcher.make_session(config));
  const wslink::config moved = std::move(config);
  FAILS(null, CHECK(!dispatcher.make_session(config, &err)));
}

SERVER_TEST(gbytes_are_not_copied_and_outlive_the_session) {
  auto session = std::make_unique<wslink::session>(check::ready(url));
  auto data = session->call("test.bytes", 100'000, 3).get<wslink::buffer>();
  const std::uint8_t *place = data.data();
  GBytes *bytes = wslink::glib::bytes(std::move(data));

  // Send them back, also without a copy.
  const auto echo = session->call("test.echo", wslink::glib::by_reference(bytes));
  CHECK(check::is_pattern(echo["args"][0].get<wslink::bytes_view>(), 100'000, 3));
  session.reset();
  gsize size = 0;
  const void *view = g_bytes_get_data(bytes, &size);
  CHECK(view == place && check::is_pattern(wslink::bytes_view(view, size), 100'000, 3));
  std::thread([bytes] { g_bytes_unref(bytes); }).join();

  GBytes *none = wslink::glib::bytes(wslink::buffer());
  CHECK_EQ(g_bytes_get_size(none), 0);
  g_bytes_unref(none);
}

} // namespace
