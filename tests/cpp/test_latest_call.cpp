// latest_call: one call in flight, the newest one pending, the others replaced.

#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>

#include "check.hpp"

namespace {

using namespace std::chrono_literals;

bool until_idle(const wslink::session &session, const wslink::latest_call &latest) {
  return session.dispatch_until([&] { return latest.idle(); }, 30s);
}

SERVER_TEST(one_is_in_flight_and_the_newest_waits) {
  const wslink::session session = check::ready(url);
  std::vector<int> sums;
  wslink::latest_call add(session, "myprotocol.add", [&](wslink::outcome &&what) { sums.push_back(what.get<int>()); });
  CHECK(add.idle() && add.sent() == 0 && add.replaced() == 0);
  for (int i = 1; i <= 100; ++i)
    CHECK(add({i, 0}));
  CHECK(sums.empty() && !add.idle()); // never called inside the function
  CHECK(add.sent() == 1 && add.replaced() == 98);
  CHECK(until_idle(session, add));
  CHECK((sums == std::vector<int>{1, 100}));
  CHECK(add.sent() == 2 && add.replaced() == 98);
  // The server received two calls.
  CHECK_EQ(session.stats().calls, 2);

  // Again, with all ways to pass arguments.
  wslink::args args;
  args.add({200, 1});
  CHECK(add(std::move(args)));
  args.add({200, 2});
  CHECK(add(std::move(args)));
  CHECK(add(wslink::list(200, 3), wslink::timeout(30s)));
  CHECK(until_idle(session, add));
  CHECK((sums == std::vector<int>{1, 100, 201, 203}));
  CHECK(add.sent() == 4 && add.replaced() == 99);

  wslink::latest_call quiet(session, "myprotocol.add");
  CHECK(quiet({1, 2}) && quiet({3, 4}) && quiet({5, 6}));
  CHECK(until_idle(session, quiet));
  CHECK(quiet.sent() == 2 && quiet.replaced() == 1);
}

SERVER_TEST(it_is_called_in_its_own_callback) {
  const wslink::session session = check::ready(url);
  std::vector<int> sums;
  std::unique_ptr<wslink::latest_call> add;
  add = std::make_unique<wslink::latest_call>(session, "myprotocol.add", [&](wslink::outcome &&what) {
    sums.push_back(what.get<int>());
    if (sums.back() < 5)
      (*add)({sums.back(), 1});
  });
  (*add)({0, 1});
  CHECK(until_idle(session, *add));
  CHECK((sums == std::vector<int>{1, 2, 3, 4, 5}));
  CHECK_EQ(add->replaced(), 0);
}

SERVER_TEST(errors_of_the_server_and_timeouts_do_not_stop_it) {
  const wslink::session session = check::ready(url);
  std::vector<wslink::code> codes;
  const auto keep = [&](wslink::outcome &&what) { codes.push_back(what.failure().code()); };
  wslink::latest_call add(session, "myprotocol.add", keep);
  CHECK(add({"no number"}) && add({1, 2}) && add({3, 4}));
  CHECK(until_idle(session, add));
  CHECK((codes == std::vector<wslink::code>{wslink::code::remote, wslink::code::ok}));

  codes.clear();
  wslink::latest_call sleep(session, "test.sleep", keep);
  CHECK(sleep(0.2, wslink::timeout(1ms)) && sleep(0, wslink::timeout(30s)));
  CHECK(until_idle(session, sleep));
  CHECK((codes == std::vector<wslink::code>{wslink::code::timeout, wslink::code::ok}));

  // An exception of the callback does not stop it either: dispatch() throws it.
  int calls = 0;
  wslink::latest_call throwing(session, "test.info", [&](wslink::outcome &&) {
    ++calls;
    throw std::runtime_error("mine");
  });
  throwing();
  throwing();
  for (int i = 1; i <= 2; ++i) {
    bool thrown = false;
    try {
      session.dispatch_until([] { return false; }, 30s);
    } catch (const std::runtime_error &) {
      thrown = true;
    }
    CHECK(thrown && calls == i);
  }
  CHECK(throwing.idle());
}

SERVER_TEST(what_cannot_be_sent_is_refused_at_once) {
  const wslink::session session = check::ready(url);
  std::vector<int> sums;
  wslink::latest_call add(session, "myprotocol.add", [&](wslink::outcome &&what) { sums.push_back(what.get<int>()); });
  FAILS(utf8, CHECK(!add(std::string_view("\xff"), &err)));
  CHECK(add.idle());
  CHECK(add({1, 1}) && add({2, 2}));
  FAILS(utf8, CHECK(!add(std::string_view("\xff"), &err)));
  THROWS(utf8, add(std::string_view("\xff")));
  CHECK_EQ(add.replaced(), 0); // the pending call stays
  wslink::error fine(wslink::code::state, "before");
  CHECK(add({3, 3}, &fine) && !fine);
  CHECK(until_idle(session, add));
  CHECK((sums == std::vector<int>{2, 6}));

  const wslink::latest_call none;
  FAILS(null, CHECK(!none(1, &err)));
  CHECK(none.idle() && none.sent() == 0 && none.replaced() == 0);
  const wslink::latest_call of_none(wslink::session(), "myprotocol.add");
  FAILS(null, CHECK(!of_none(1, &err)));
  CHECK(of_none.idle());
  const wslink::session idle(url.text);
  const wslink::latest_call early(idle, "myprotocol.add");
  FAILS(state, CHECK(!early({1, 1}, &err)));
  CHECK(early.idle() && early.sent() == 0);
}

SERVER_TEST(a_loss_of_the_connection_is_an_outcome_of_both) {
  const wslink::session session = check::ready(url);
  std::vector<wslink::code> codes;
  std::vector<std::string> methods;
  wslink::latest_call cancelled(session, "test.cancelled", // ends the connection
                                [&](wslink::outcome &&what) { codes.push_back(what.failure().code()); });
  CHECK(cancelled() && cancelled() && cancelled());
  CHECK(until_idle(session, cancelled));
  CHECK(codes.size() == 2 && codes[0] == wslink::code::connection_lost && codes[1] != wslink::code::ok);
  CHECK(cancelled.sent() == 1 && cancelled.replaced() == 1);
  CHECK(session.dispatch_until([&] { return session.state() == wslink::state::closed; }, 30s));
  FAILS(closed, CHECK(!cancelled(&err)));

  // It goes on when the session has connected again.
  session.connect();
  codes.clear();
  wslink::latest_call info(session, "test.info",
                           [&](wslink::outcome &&what) { codes.push_back(what.failure().code()); });
  CHECK(info());
  CHECK(until_idle(session, info));
  wslink::latest_call sleep(session, "test.sleep",
                            [&](wslink::outcome &&what) { codes.push_back(what.failure().code()); });
  CHECK(sleep(20) && sleep(20));
  session.close(1ms);
  CHECK(until_idle(session, sleep));
  CHECK((codes == std::vector<wslink::code>{wslink::code::ok, wslink::code::closed, wslink::code::closed}));
}

SERVER_TEST(it_ends_with_calls_in_flight_and_waiting) {
  const wslink::session session = check::ready(url);
  std::atomic<int> alive{0};
  int told = 0;
  {
    wslink::latest_call add(session, "myprotocol.add",
                            [&told, mark = check::counted(alive)](wslink::outcome &&) { ++told; });
    CHECK(add({1, 1}) && add({2, 2}));
    CHECK_EQ(alive, 1);
  }
  CHECK_EQ(alive, 0);
  session.call("test.info");
  while (session.dispatch() > 0) {
  }
  CHECK_EQ(told, 0);
  CHECK_EQ(session.stats().calls, 2); // one add, and test.info

  // Replaced by assignment, and moved.
  std::vector<int> sums;
  const auto keep = [&](wslink::outcome &&what) { sums.push_back(what.get<int>()); };
  wslink::latest_call first(session, "myprotocol.add", keep);
  CHECK(first({1, 1}));
  wslink::latest_call second = std::move(first);
  CHECK(second({2, 2}));
  first = wslink::latest_call(session, "myprotocol.mult", keep);
  CHECK(first({3, 3}));
  CHECK(session.dispatch_until([&] { return first.idle() && second.idle(); }, 30s));
  CHECK_EQ(sums.size(), 3);
}

SERVER_TEST(it_ends_in_its_own_callback) {
  const wslink::session session = check::ready(url);
  std::atomic<int> alive{0};
  int told = 0;
  std::unique_ptr<wslink::latest_call> add;
  add = std::make_unique<wslink::latest_call>(session, "myprotocol.add",
                                              [&, mark = check::counted(alive)](wslink::outcome &&what) {
                                                ++told;
                                                add.reset();
                                                CHECK_EQ(what.get<int>(), 2); // captures still exist
                                                CHECK_EQ(alive, 1);
                                              });
  CHECK((*add)({1, 1}));
  CHECK(session.dispatch_until([&] { return !add; }, 30s));
  CHECK(told == 1 && alive == 0);
}

SERVER_TEST(the_session_ends_first_or_moves) {
  std::vector<wslink::code> codes;
  auto session = std::make_unique<wslink::session>(check::ready(url));
  wslink::latest_call sleep(*session, "test.sleep",
                            [&](wslink::outcome &&what) { codes.push_back(what.failure().code()); });
  CHECK(sleep(20) && sleep(20) && sleep(20));
  const wslink::session moved = std::move(*session);
  session.reset();
  CHECK(sleep(20)); // still the same session
  { const wslink::session gone = std::move(const_cast<wslink::session &>(moved)); }
  CHECK((codes == std::vector<wslink::code>{wslink::code::closed, wslink::code::closed}));
  CHECK(sleep.idle() && sleep.sent() == 1 && sleep.replaced() == 2);
  FAILS(closed, CHECK(!sleep(20, &err)));
}

SERVER_TEST(lent_memory_is_given_back_once) {
  const wslink::session session = check::ready(url);
  const auto data = check::pattern(100'000);
  std::atomic<int> released{0};
  wslink::latest_call sum(session, "test.sum");
  // A release function may make a call, because no lock is held.
  const auto release = [&] {
    ++released;
    CHECK(!sum.idle());
  };
  for (int i = 1; i <= 5; ++i) {
    CHECK(sum(wslink::by_reference(data.data(), data.size(), release)));
    if (i > 2)
      CHECK(released >= i - 2); // replaced arguments are released at once
  }
  CHECK(session.dispatch_until([&] { return sum.sent() == 2; }, 30s));
  CHECK(until_idle(session, sum));
  CHECK_EQ(released, 5);
  {
    wslink::latest_call ended(session, "test.sleep");
    CHECK(ended(0));
    CHECK(ended(wslink::by_reference(data.data(), data.size(), [&] { ++released; })));
  }
  CHECK_EQ(released, 6);
}

// Every accepted call is replaced or has one outcome; the last one is sent.
SERVER_TEST(many_threads_call) {
  for (const auto where : {wslink::delivery::io_thread, wslink::delivery::queued}) {
    const wslink::session session = check::ready(url, where);
    std::atomic<std::uint64_t> told{0}, given{0};
    std::atomic<int> inside{0}, last{0};
    wslink::latest_call add(session, "myprotocol.add", [&](wslink::outcome &&what) {
      CHECK_EQ(++inside, 1);
      last = what.get<int>();
      ++told;
      --inside;
    });
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        for (int i = 1; i <= 200; ++i)
          given += add({i, 0});
      });
    std::atomic<bool> over{false};
    std::thread dispatching([&] {
      while (!over && where == wslink::delivery::queued)
        session.dispatch(1ms);
    });
    for (std::thread &each : threads)
      each.join();
    CHECK(add({1000, 0}));
    while (last != 1000)
      std::this_thread::yield();
    over = true;
    dispatching.join();
    CHECK_EQ(given.load(), 800);
    CHECK_EQ(told.load(), add.sent());
    CHECK_EQ(add.sent() + add.replaced(), 801);
  }
}

// A refused call does not discard an accepted call that another thread makes at the same time.
SERVER_TEST(a_refusal_is_of_one_call_only) {
  if (url.protocol == 2) // a server that refuses no upload for its size
    return;
  const wslink::session session = check::ready(url);
  const std::vector<double> large(2'000'000, 0.1); // refused after some time of encoding
  for (int i = 1; i <= 10; ++i) {
    std::vector<int> sums;
    wslink::latest_call add(session, "myprotocol.add",
                            [&](wslink::outcome &&what) { sums.push_back(what.get<int>()); });
    std::atomic<bool> over{false};
    std::thread other([&] {
      FAILS(limit, CHECK(!add(large, &err)));
      over = true;
    });
    while (add.idle() && !over)
      std::this_thread::yield();
    CHECK(add({i, 0}));
    other.join();
    CHECK(until_idle(session, add));
    CHECK((sums == std::vector<int>{i}));
    CHECK(add.sent() == 1 && add.replaced() == 0);
  }
}

// The destructor waits for a callback that runs on another thread.
SERVER_TEST(its_end_waits_for_its_callback) {
  const wslink::session session = check::ready(url, wslink::delivery::io_thread);
  std::atomic<int> phase{0};
  auto info = std::make_unique<wslink::latest_call>(session, "test.info", [&](wslink::outcome &&) {
    phase = 1;
    while (phase != 2)
      std::this_thread::yield();
    for (int i = 0; i < 1000; ++i)
      std::this_thread::yield();
    phase = 3;
  });
  (*info)();
  while (phase != 1)
    std::this_thread::yield();
  phase = 2;
  info.reset();
  CHECK_EQ(phase, 3);
}

} // namespace
