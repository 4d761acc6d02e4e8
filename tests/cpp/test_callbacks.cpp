// Callbacks: exceptions in them, what subscriptions keep, event loops, the other callbacks of a config.

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "check.hpp"

namespace {

using namespace std::chrono_literals;

// The text of the exception that the code throws.
template <class Code>
std::string thrown_by(Code &&code) {
  try {
    code();
  } catch (const std::logic_error &e) {
    return std::string("logic: ") + e.what();
  } catch (const std::exception &e) {
    return std::string("other: ") + e.what();
  } catch (int number) {
    return "number " + std::to_string(number);
  }
  return "nothing";
}

// Waits, by calls that the server answers in order, until a subscription has dropped `count` publications.
void wait_dropped(const wslink::session &session, const wslink::subscription &sub, std::uint64_t dropped) {
  while (sub.counts().dropped < dropped)
    session.call("test.info");
}

SERVER_TEST(dispatch_rethrows_what_a_callback_threw) {
  const wslink::session session = check::ready(url);
  session.dispatch(); // the changes of state
  int later = 0;
  session.request("test.info").then([](wslink::outcome &&) { throw std::logic_error("completion"); });
  session.request("test.info").then([](wslink::outcome &&) { throw 42; });
  session.request("test.info").then([&](wslink::outcome &&) { ++later; });
  // All of them are queued before the first one runs.
  while (session.stats().events_waiting < 3)
    session.call("test.info");
  CHECK_EQ(thrown_by([&] { session.dispatch(); }), "logic: completion");
  CHECK_EQ(later, 1); // the other callbacks ran
  wslink::error err;
  CHECK_EQ(thrown_by([&] { session.dispatch(0ms, 0, &err); }), "number 42"); // also if an error is passed
  CHECK_EQ(thrown_by([&] { session.dispatch(); }), "nothing");

  auto sub = session.subscribe("t.throw", [](const wslink::publication &p) { p.get<int>(); });
  session.call("test.publish", "t.throw");
  CHECK_EQ(thrown_by([&] { session.dispatch_until([] { return false; }, 20s); }),
           "other: the value is map, not an integer of the type asked for");
  CHECK_EQ(session.call("myprotocol.add", {1, 2}).get<int>(), 3);
}

SERVER_TEST(exceptions_of_state_and_progress_callbacks_are_rethrown) {
  wslink::config config(url);
  config.on_state([](const wslink::state_change &now) {
    if (now.state == wslink::state::ready)
      throw std::logic_error("state");
  });
  config.on_progress([](const wslink::progress &) { throw std::logic_error("progress"); });
  const wslink::session session(config);
  session.connect();
  CHECK_EQ(thrown_by([&] { session.dispatch_until([] { return false; }, 20s); }), "logic: state");
  session.request("test.bytes", 3'000'000).then([](auto &&) {});
  CHECK_EQ(thrown_by([&] { session.dispatch_until([] { return false; }, 20s); }), "logic: progress");
}

SERVER_TEST(an_exception_survives_the_end_of_the_session) {
  auto session = std::make_unique<wslink::session>(check::ready(url));
  session->request("test.info").then([&](wslink::outcome &&) {
    session.reset();
    throw std::logic_error("after the end");
  });
  CHECK_EQ(thrown_by([&] { session->dispatch_until([] { return false; }, 20s); }), "logic: after the end");
  CHECK(!session);
}

std::mutex hook_mutex;
std::vector<std::string> hooked;
void hook(std::exception_ptr thrown) {
  const std::lock_guard<std::mutex> lock(hook_mutex);
  hooked.push_back(thrown_by([&] { std::rethrow_exception(thrown); }));
}

SERVER_TEST(a_hook_gets_all_exceptions) {
  CHECK(wslink::set_exception_hook(hook) == nullptr);
  {
    const wslink::session session = check::ready(url);
    session.request("test.info").then([](wslink::outcome &&) { throw 1; });
    session.request("test.info").then([](wslink::outcome &&) { throw 2; });
    CHECK(session.dispatch_until([&] { return hooked.size() == 2; }, 20s));
    // The session ends without a dispatch().
    session.request("test.sleep", 20).then([](wslink::outcome &&) { throw 3; });
  }
  {
    wslink::config config(url);
    config.log(wslink::log_level::debug, [](wslink::log_level, const char *) { throw 4; });
    config.on_wakeup([] { throw 5; });
    config.delivery(wslink::delivery::io_thread);
    const wslink::session session(config);
    session.connect();
    std::promise<void> after;
    session.request("test.info").then([](wslink::outcome &&) { throw 6; });
    session.request("test.info").then([&](wslink::outcome &&) { after.set_value(); });
    after.get_future().get();
  }
  CHECK(wslink::set_exception_hook(nullptr) == hook);
  const auto had = [](const char *what) { return std::count(hooked.begin(), hooked.end(), what); };
  CHECK(had("number 1") == 1 && had("number 2") == 1 && had("number 3") == 1);
  CHECK(had("number 4") > 0 && had("number 6") == 1);
  hooked.clear();
}

SERVER_TEST(without_hook_and_dispatch_an_exception_ends_the_program) {
  const pid_t child = fork();
  if (child == 0) {
    // Ends at once, so that a leak checker does not run.
    std::set_terminate([] { kill(getpid(), SIGKILL); });
    const wslink::session session = check::ready(url, wslink::delivery::io_thread);
    session.request("test.info").then([](wslink::outcome &&) { throw 1; });
    for (;;)
      pause();
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

// The numbers of the publications that a subscription received.
struct numbers {
  std::vector<int> seen;
  void operator()(const wslink::publication &p) { seen.push_back(p.result()["i"].get<int>()); }
};

SERVER_TEST(a_callback_is_called_only_while_its_object_is_there) {
  struct listener {
    std::vector<std::string> heard;
  };
  wslink::config config(url);
  auto object = std::make_shared<listener>();
  auto gone = std::make_shared<listener>();
  std::vector<std::string> &heard = object->heard;
  int wrong = 0;
  config.on_state(std::weak_ptr<listener>(object), [&](const wslink::state_change &) { heard.emplace_back("state"); });
  const wslink::session session(config);
  session.connect();
  const auto sub = session.subscribe("t.guarded", std::weak_ptr<listener>(object),
                                     [&](const wslink::publication &) { heard.emplace_back("publication"); });
  const auto other = session.subscribe(
      "t.guarded", std::weak_ptr<listener>(gone), [&](const wslink::publication &) { ++wrong; }, wslink::keep_latest());
  std::atomic<int> alive{0};
  session.request("test.info").then(std::weak_ptr<listener>(object), [&](wslink::outcome &&what) {
    CHECK(what && object.use_count() == 2); // locked during the callback
    heard.emplace_back("reply");
  });
  session.request("test.raise").send(std::weak_ptr<listener>(object), [&](const wslink::error &why) {
    CHECK_EQ(why.code(), wslink::code::remote);
    heard.emplace_back("error");
  });
  const auto count = [&, mark = check::counted(alive)](auto &&) { ++wrong; };
  CHECK(session.request("test.info").then(std::weak_ptr<listener>(gone), count) != 0);
  session.request("test.raise").send(std::weak_ptr<listener>(gone), count);
  CHECK_EQ(alive, 3);
  gone.reset();
  session.call("test.publish", "t.guarded", 2);
  CHECK(session.dispatch_until([&] { return heard.size() == 6; }, 20s));
  std::sort(heard.begin(), heard.end()); // publications and replies arrive in any order
  CHECK((heard == std::vector<std::string>{"error", "publication", "publication", "reply", "state", "state"}));
  session.call("test.info");
  while (session.dispatch() > 0) {
  }
  CHECK_EQ(wrong, 0);
  CHECK_EQ(alive, 1); // captured objects are destroyed as usual
}

SERVER_TEST(policies_keep_what_they_say) {
  const wslink::session session = check::ready(url);
  numbers all, first, latest, last;
  const auto keeps = [&](numbers &to, wslink::policy keep) {
    return session.subscribe("t.policy", std::ref(to), keep);
  };
  const auto s1 = keeps(all, wslink::keep_all()), s2 = keeps(first, wslink::keep_all(2));
  const auto s3 = keeps(latest, wslink::keep_latest()), s4 = keeps(last, wslink::keep_latest(3));
  session.call("test.publish", "t.policy", 6);
  wait_dropped(session, s3, 5);
  CHECK(session.dispatch_until([&] { return all.seen.size() == 6; }, 20s));
  session.dispatch();
  CHECK((all.seen == std::vector<int>{0, 1, 2, 3, 4, 5}));
  CHECK((first.seen == std::vector<int>{0, 1}));
  CHECK((latest.seen == std::vector<int>{5}));
  CHECK((last.seen == std::vector<int>{3, 4, 5}));
  CHECK(s1.counts().delivered == 6 && s1.counts().dropped == 0);
  CHECK(s2.counts().delivered == 2 && s2.counts().dropped == 4);
  CHECK(s3.counts().delivered == 1 && s3.counts().dropped == 5);
  CHECK(s4.counts().delivered == 3 && s4.counts().dropped == 3);
  FAILS(argument, (void)session.subscribe(
                      "t", [](const wslink::publication &) {}, {99, 1}, &err));
}

SERVER_TEST(publications_bring_topic_value_and_errors) {
  const wslink::session session = check::ready(url);
  const std::string topic = "a topic: with:colons \xc3\xa9";
  std::vector<wslink::document> kept;
  std::vector<wslink::error> errors;
  const auto sub = session.subscribe(topic, [&](const wslink::publication &p) {
    CHECK_EQ(p.topic(), topic);
    if (p) {
      kept.push_back(p.share());
      CHECK(!p.failure());
    } else {
      errors.push_back(p.failure());
      CHECK(!p.share());
      THROWS(remote, p.result());
      THROWS(remote, p.get<int>());
    }
  });
  session.call("test.publish.bytes", topic, 2, 70'000);
  session.call("test.publish.bad", topic);
  CHECK(session.dispatch_until([&] { return kept.size() + errors.size() == 3; }, 20s));
  CHECK(kept.size() == 2 && check::is_pattern(kept[1]["data"].get<wslink::bytes_view>(), 70'000, 1));
  CHECK(errors.size() == 1 && errors[0].remote_code() == -32002);
  const auto before = session.stats().unsubscribed;
  session.call("test.publish", "nobody", 2);
  while (session.stats().unsubscribed < before + 2)
    session.call("test.info");
}

SERVER_TEST(a_poll_loop_is_woken_by_the_descriptor) {
  const wslink::session session = check::ready(url);
  while (session.dispatch() > 0) {
  }
  pollfd watched{session.descriptor(), POLLIN, 0};
  CHECK(watched.fd >= 0 && poll(&watched, 1, 0) == 0); // nothing is queued
  int heard = 0;
  bool answered = false;
  const auto sub = session.subscribe("t.poll", [&](const wslink::publication &) { ++heard; });
  session.request("test.publish", "t.poll", 20).then([&](wslink::outcome &&) { answered = true; });
  while (heard < 20 || !answered) {
    watched.revents = 0;
    if (!check::that(poll(&watched, 1, 20'000) == 1 && (watched.revents & POLLIN), "woken", __FILE__, __LINE__))
      return;
    CHECK(session.dispatch(0ms, 1) == 1); // one event at a time; the descriptor stays readable while events are queued
  }
  CHECK(poll(&watched, 1, 0) == 0);
}

SERVER_TEST(a_wakeup_comes_when_there_is_something_after_nothing) {
  std::mutex mutex;
  std::condition_variable changed;
  int wakeups = 0;
  wslink::config config(url);
  config.on_wakeup([&] {
    const std::lock_guard<std::mutex> lock(mutex);
    ++wakeups;
    changed.notify_all();
  });
  const wslink::session session(config);
  session.begin_connect();
  bool done = false;
  while (session.state() != wslink::state::ready || !done) {
    {
      std::unique_lock<std::mutex> lock(mutex);
      changed.wait(lock, [&] { return wakeups > 0; });
      wakeups = 0;
    }
    while (session.dispatch() > 0) {
    }
    if (session.state() == wslink::state::ready && !done) {
      session.request("test.info").then([&](wslink::outcome &&o) { done = static_cast<bool>(o); });
    } else if (session.state() == wslink::state::closed) {
      CHECK(false);
      return;
    }
  }
}

SERVER_TEST(states_progress_and_log_are_told) {
  std::vector<wslink::state> states;
  std::vector<std::string> reasons;
  std::uint64_t in = 0, out = 0;
  std::mutex mutex;
  std::string log;
  wslink::config config(url);
  config.on_state([&](const wslink::state_change &now) {
    states.push_back(now.state);
    if (now.reason)
      reasons.emplace_back(now.reason.message());
  });
  config.on_progress([&](const wslink::progress &now) {
    CHECK(now.bytes <= now.total && now.total >= 256 << 10);
    (now.incoming ? in : out) = now.bytes;
  });
  config.log(wslink::log_level::debug, [&](wslink::log_level, const char *line) {
    const std::lock_guard<std::mutex> lock(mutex);
    log += line;
  });
  config.secret("wslink-secret");
  const wslink::session session(config);
  session.connect();
  auto reply = session.request("test.echo", check::pattern(2'000'000)).future();
  CHECK(session.dispatch_until([&] { return in >= 2'000'000 && out >= 2'000'000; }, 20s));
  CHECK(session.dispatch_until(reply, 20s));
  session.close();
  CHECK(session.dispatch_until([&] { return !states.empty() && states.back() == wslink::state::closed; }, 20s));
  CHECK((states == std::vector<wslink::state>{wslink::state::connecting, wslink::state::ready, wslink::state::closing,
                                              wslink::state::closed}));
  CHECK(reasons.empty());
  const std::lock_guard<std::mutex> lock(mutex);
  CHECK(!log.empty() && log.find("wslink-secret") == log.npos);
}

SERVER_TEST(a_lost_connection_says_why) {
  std::vector<wslink::state> states;
  wslink::code why = wslink::code::ok;
  wslink::config config(url);
  config.on_state([&](const wslink::state_change &now) {
    states.push_back(now.state);
    if (now.state == wslink::state::lost)
      why = now.reason.code();
  });
  const wslink::session session(config);
  session.connect();
  session.request("test.cancelled").then([](wslink::outcome &&) {});
  CHECK(session.dispatch_until([&] { return !states.empty() && states.back() == wslink::state::closed; }, 20s));
  CHECK(states.size() >= 2 && states[states.size() - 2] == wslink::state::lost);
  CHECK_EQ(why, wslink::code::connection_lost);
}

SERVER_TEST(dispatch_is_not_entered_twice) {
  const wslink::session session = check::ready(url);
  wslink::code inner = wslink::code::ok;
  int sum = 0;
  session.request("test.info").then([&](wslink::outcome &&) {
    wslink::error err;
    session.dispatch(0ms, 0, &err);
    inner = err.code();
    sum = session.call("myprotocol.add", {1, 2}).get<int>(); // blocking calls are allowed
  });
  CHECK(session.dispatch_until([&] { return sum != 0; }, 20s));
  CHECK(inner == wslink::code::reentrant && sum == 3);
}

} // namespace
