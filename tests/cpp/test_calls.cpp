// Calls: three styles, two error styles, timeouts, cancellation, memory given by reference.

#include <chrono>
#include <memory>
#include <numeric>
#include <thread>

#include "check.hpp"

namespace {

using namespace std::chrono_literals;

SERVER_TEST(a_call_waits_and_throws_or_tells) {
  const wslink::session session = check::ready(url);
  CHECK_EQ(session.call("myprotocol.add", {1, 2, 3}).get<int>(), 6);
  THROWS(remote, session.call("myprotocol.mistake.TYPO"));
  try {
    session.call("test.raise", "ValueError");
    CHECK(false);
  } catch (const wslink::exception &thrown) {
    const wslink::exception e = thrown; // copies share the error
    CHECK(e.code() == wslink::code::remote && e.why().stage() == wslink::stage::call);
    CHECK_EQ(e.why().remote_code().value_or(0), -32001);
    CHECK_EQ(std::string_view(e.why().remote_message()), "Exception raised");
    CHECK_EQ(e.why().remote_data()["method"].get<std::string>(), "test.raise");
    CHECK_EQ(e.why().remote_value()["code"].get<int>(), -32001);
    CHECK_EQ(e.why().remote_value()["data"]["method"].get<std::string>(), "test.raise");
    CHECK(e.why().remote_data()["trace"].get<std::string>().find("ValueError") != std::string::npos);
    CHECK(!e.why().is_retriable() && e.why().http_status() == 0);
  }

  // With an error argument nothing throws, and an earlier error is cleared.
  wslink::error err(wslink::code::state, "before");
  CHECK_EQ(session.call("myprotocol.add", {1, 2}, &err).get<int>(&err), 3);
  CHECK(!err);
  wslink::document none = session.call("test.raise", &err);
  CHECK(!none && err.code() == wslink::code::remote);
  CHECK(none.get<int>(&err) == 0 && err.code() == wslink::code::not_found);
  none = session.request("test.raise").wait(&err);
  CHECK(!none && err.code() == wslink::code::remote);
  none = session.request("test.raise", &err).wait();
  CHECK(!none && err.code() == wslink::code::remote);
  wslink::args args;
  args.add("KeyError");
  session.call("test.raise", std::move(args), &err);
  CHECK_EQ(err.remote_data()["exception"].get<std::string>(), "KeyError('missing')");
  session.call("", &err);
  CHECK_EQ(err.code(), wslink::code::argument);
}

SERVER_TEST(completions_come_once_in_dispatch) {
  const wslink::session session = check::ready(url);
  const auto me = std::this_thread::get_id();
  std::vector<int> sums;
  for (int i = 0; i < 500; ++i) {
    const auto id = session.request("myprotocol.add", {i, 1}).then([&](wslink::outcome &&o) {
      CHECK(o && !o.failure() && std::this_thread::get_id() == me);
      sums.push_back(o.get<int>());
    });
    CHECK(id != 0);
  }
  CHECK(sums.empty()); // never called inside the function
  CHECK(session.dispatch_until([&] { return sums.size() >= 500; }, 60s));
  for (int i = 0; i < 500; ++i)
    CHECK_EQ(sums[static_cast<std::size_t>(i)], i + 1);
  CHECK(session.dispatch() == 0 && sums.size() == 500);
  CHECK(session.stats().calls >= 500 && session.stats().calls_in_flight == 0);

  wslink::outcome failed;
  session.request("test.raise").then([&](wslink::outcome &&o) { failed = std::move(o); });
  CHECK(session.dispatch_until([&] { return static_cast<bool>(failed.failure()); }, 20s));
  CHECK(!failed);
  THROWS(remote, failed.get<int>());
  THROWS(remote, failed.result());
  THROWS(remote, failed.take());
  wslink::outcome kept;
  session.request("test.info").then([&](wslink::outcome &&o) { kept = std::move(o); });
  CHECK(session.dispatch_until([&] { return static_cast<bool>(kept); }, 20s));
  CHECK_EQ(kept.result()["protocol"].get<int>(), url.protocol);
  const wslink::document reply = kept.take();
  CHECK(reply && !kept);
  THROWS(null, kept.take());
}

SERVER_TEST(a_call_is_sent_for_which_nobody_waits) {
  const wslink::session session = check::ready(url);
  int failures = 0;
  std::string message;
  const auto on_error = [&](const wslink::error &why) {
    ++failures;
    message = why.remote_message();
  };
  CHECK(session.request("test.echo", 1).send() != 0);
  CHECK(session.request("test.raise").send() != 0); // the failure is discarded
  CHECK(session.request("test.echo", 2).send(on_error) != 0);
  CHECK(session.request("test.raise").timeout(20s).send(on_error) != 0);
  CHECK_EQ(failures, 0);     // never called inside the function
  session.call("test.info"); // the server answers it after the calls before it
  while (session.dispatch() > 0) {
  }
  CHECK_EQ(failures, 1);
  CHECK(!message.empty());
  const wslink::stats now = session.stats();
  CHECK(now.calls == 5 && now.calls_in_flight == 0);

  // A kept request is filled and sent again; like then(), send() reports a failure of the call itself.
  wslink::request kept = session.request("test.echo");
  kept.arguments().add(1);
  CHECK(kept.timeout(20s).send() != 0);
  kept.arguments().add(std::string_view("\xff"));
  FAILS(utf8, CHECK(!kept.send(on_error, &err)));
  // A callable that owns something is destroyed after its one call.
  session.request("test.raise").send([&, owned = std::make_unique<int>(7)](const wslink::error &) {
    failures += *owned;
  });
  CHECK(session.dispatch_until([&] { return failures == 8; }, 20s));
}

SERVER_TEST(a_callable_that_only_moves_is_enough) {
  const wslink::session session = check::ready(url);
  auto owned = std::make_unique<int>(0);
  int *seen = owned.get();
  bool done = false;
  session.request("test.info").then([owned = std::move(owned), &done, seen](auto &&) {
    CHECK(owned.get() == seen);
    done = true;
  });
  CHECK(session.dispatch_until([&] { return done; }, 20s));
}

SERVER_TEST(a_callable_as_large_as_a_pointer_is_enough) {
  struct counter {
    int sum = 0, calls = 0;
    void ask(const wslink::session &session, int n) {
      session.request("myprotocol.add", {n, 1}).then([this](wslink::outcome &&o) {
        sum += o.get<int>();
        ++calls;
      });
    }
  } counts;
  const wslink::session session = check::ready(url);
  for (int i = 0; i < 10; ++i)
    counts.ask(session, i);
  CHECK(session.dispatch_until([&] { return counts.calls == 10; }, 20s));
  CHECK_EQ(counts.sum, 55);
  static int called;
  called = 0;
  void (*plain)(wslink::outcome &&) = [](wslink::outcome &&) { ++called; };
  session.request("test.info").then(plain);
  CHECK(session.dispatch_until([&] { return called == 1; }, 20s));
  wslink::error err;
  session.close();
  session.request("test.info").then(plain, &err);
  CHECK(err.code() == wslink::code::state || err.code() == wslink::code::closed);
  CHECK_EQ(called, 1);
}

SERVER_TEST(an_outcome_lives_on_where_it_is_taken_or_moved) {
  const wslink::session session = check::ready(url);
  std::vector<wslink::document> taken;
  std::vector<wslink::outcome> moved(1);
  int waiting = 0;
  auto sum = [&](auto &&take) {
    session.request("myprotocol.add", {40, 2}).then([&waiting, take](wslink::outcome o) {
      take(std::move(o));
      --waiting;
    });
    ++waiting;
  };
  sum([&](wslink::outcome &&o) { taken.push_back(o.take()); });
  sum([&](wslink::outcome &&o) { moved.push_back(std::move(o)); });
  sum([&](wslink::outcome &&o) { moved[0] = std::move(o); });
  sum([&](wslink::outcome &&o) {
    CHECK_EQ(o.get<int>(), 42);
    o = wslink::outcome();
    CHECK(!o && !o.failure());
  });
  session.request("myprotocol.add", {40, 2}).then([&](wslink::outcome &&o) {
    taken.push_back(o.result().share());
    o = wslink::outcome(o.take());
    CHECK_EQ(o.get<int>(), 42);
    taken.push_back(o.take());
    THROWS(null, o.take());
    --waiting;
  });
  ++waiting;
  CHECK(session.dispatch_until([&] { return waiting == 0; }, 20s));
  session.call("test.info"); // would reuse the memory if it were freed
  CHECK(taken.size() == 3 && moved.size() == 2);
  for (const wslink::document &one : taken)
    CHECK_EQ(one.get<int>(), 42);
  for (const wslink::outcome &one : moved)
    CHECK_EQ(one.get<int>(), 42);
}

SERVER_TEST(a_request_is_filled_again) {
  const wslink::session session = check::ready(url);
  wslink::request add = session.request("myprotocol.add");
  for (int i = 0; i < 3; ++i) {
    add.arguments().add({i, 1});
    CHECK_EQ(add.wait().get<int>(), i + 1);
  }
  int sum = 0;
  for (int i = 0; i < 3; ++i) {
    add.arguments().add({i, 2});
    CHECK(add.then([&sum](wslink::outcome &&o) { sum += o.get<int>(); }) != 0);
  }
  CHECK(session.dispatch_until([&] { return sum == 9; }, 20s));
  wslink::error err;
  add.arguments().add("\xff");
  CHECK(!add.wait(&err) && err.code() == wslink::code::utf8);
}

SERVER_TEST(completions_run_on_the_io_thread_if_asked) {
  const wslink::session session = check::ready(url, wslink::delivery::io_thread);
  std::promise<std::thread::id> where;
  wslink::code waiting = wslink::code::ok, closing = wslink::code::ok;
  session.request("test.info").then([&](wslink::outcome &&) {
    wslink::error err;
    session.call("test.info", &err); // would wait for its own thread
    waiting = err.code();
    session.close(1s, &err);
    closing = err.code();
    where.set_value(std::this_thread::get_id());
  });
  CHECK(where.get_future().get() != std::this_thread::get_id());
  CHECK(waiting == wslink::code::reentrant && closing == wslink::code::reentrant);
  CHECK_EQ(session.request("myprotocol.add", {2, 3}).future().get().get<int>(), 5); // needs no dispatch
  FAILS(state, session.dispatch(0ms, 0, &err));
}

SERVER_TEST(futures_bring_the_reply_or_throw) {
  const wslink::session session = check::ready(url);
  auto sum = session.request("myprotocol.add", {2, 3}).future();
  auto bad = session.request("test.raise").future();
  auto told = session.request("test.raise").future<wslink::outcome>();
  CHECK(session.dispatch_until(sum, 20s) && session.dispatch_until(bad, 20s) && session.dispatch_until(told, 20s));
  CHECK_EQ(sum.get().get<int>(), 5);
  THROWS(remote, bad.get());
  CHECK_EQ(told.get().failure().code(), wslink::code::remote);

  // Another thread dispatches, so this one may wait by get().
  std::atomic<bool> stop{false};
  std::thread dispatcher([&] {
    while (!stop)
      session.dispatch(10ms);
  });
  CHECK_EQ(session.request("myprotocol.add", {4, 5}).future().get().get<int>(), 9);
  stop = true;
  dispatcher.join();
}

SERVER_TEST(a_deadline_ends_a_call) {
  const wslink::session session = check::ready(url);
  THROWS(timeout, session.call("test.sleep", 20, wslink::timeout(20ms)));
  const wslink::session other = check::ready(url);
  FAILS(timeout, other.request("test.sleep", 20).timeout(std::chrono::microseconds(1)).wait(&err));
  const wslink::session third = check::ready(url);
  FAILS(timeout, third.call("test.sleep", 20, wslink::timeout(-5s), &err)); // a negative timeout is over at once
  auto late = third.request("test.info").timeout(20ms).future();
  CHECK(third.dispatch_until(late, 20s));
  THROWS(timeout, late.get());
  CHECK(!third.dispatch_until([] { return false; }, 1ms));
  // These do not time out.
  const wslink::session fourth = check::ready(url);
  CHECK_EQ(fourth.call("myprotocol.add", {1, 2}, wslink::timeout(std::chrono::minutes(1))).get<int>(), 3);
  CHECK_EQ(fourth.call("myprotocol.add", {1, 2}, wslink::timeout(std::chrono::hours::max())).get<int>(), 3);
}

SERVER_TEST(a_session_has_a_timeout_for_all_its_calls) {
  wslink::config config(url);
  wslink::session session(config.call_timeout(20ms));
  session.connect();
  THROWS(timeout, session.call("test.sleep", 20));
  auto late = session.request("test.sleep", 20).future();
  CHECK(session.dispatch_until(late, 20s));
  THROWS(timeout, late.get());
  // The calls above keep the server busy for their session only; another session is not delayed.
  wslink::session patient(config);
  patient.connect();
  CHECK(bool(patient.call("test.sleep", 0.2, wslink::timeout(1min))));
  CHECK(bool(patient.call("test.sleep", 0.2, wslink::timeout(wslink::no_timeout))));
  CHECK(bool(patient.request("test.sleep", 0.2).timeout(wslink::no_timeout).wait()));
  // As without a timeout.
  wslink::session endless(config.call_timeout(0s));
  endless.connect();
  CHECK(bool(endless.call("test.sleep", 0.2)));
  CHECK_EQ(endless.stats().bytes_waiting, 0U);
}

SERVER_TEST(a_call_is_cancelled_once) {
  const wslink::session session = check::ready(url);
  int completions = 0;
  wslink::code outcome = wslink::code::ok;
  const auto id = session.request("test.sleep", 20).then([&](wslink::outcome &&o) {
    ++completions;
    outcome = o.failure().code();
  });
  CHECK(session.cancel(id) && !session.cancel(id) && !session.cancel(id + 1));
  CHECK(session.dispatch_until([&] { return completions > 0; }, 20s));
  CHECK(outcome == wslink::code::cancelled && completions == 1 && session.dispatch() == 0);
}

SERVER_TEST(calls_end_with_the_connection) {
  const wslink::session session = check::ready(url);
  auto pending = session.request("test.cancelled").future();
  CHECK(session.dispatch_until(pending, 20s));
  THROWS(connection_lost, pending.get());
  // The session can connect again, and works as before.
  CHECK(session.dispatch_until([&] { return session.state() == wslink::state::closed; }, 20s));
  CHECK_EQ(session.failure().code(), wslink::code::connection_lost);
  session.connect();
  CHECK_EQ(session.call("myprotocol.add", {1, 2}).get<int>(), 3);
  auto closed = session.request("test.sleep", 20).future();
  session.close(1ms);
  CHECK(session.dispatch_until(closed, 20s));
  THROWS(closed, closed.get());
  THROWS(closed, session.call("test.info"));
}

SERVER_TEST(lent_memory_is_sent_from_where_it_is_and_given_back_once) {
  const wslink::session session = check::ready(url);
  const auto data = check::pattern(3'000'000, 4);
  std::atomic<int> released{0};
  const auto release = [&released] { ++released; };
  const auto lend = [&] { return wslink::by_reference(data.data(), data.size(), release); };

  CHECK_EQ(session.call("test.sum", lend())["len"].get<std::size_t>(), data.size());
  CHECK(check::is_pattern(session.call("test.echo", {1, lend()})["args"][0][1].get<wslink::bytes_view>(), data.size(),
                          4));
  // After sending, the library releases the memory, perhaps a moment after the reply has arrived.
  while (released < 2)
    std::this_thread::yield();

  // Never sent.
  { const wslink::lent_bytes unused = lend(); }
  CHECK_EQ(released, 3);
  FAILS(utf8, session.call("test.echo", "\xff", lend(), &err));
  CHECK_EQ(released, 4);
  {
    wslink::args args;
    args.add(lend());
    args.clear();
    CHECK_EQ(released, 5);
    args.add(lend()).attach(lend());
  }
  CHECK_EQ(released, 7);
  wslink::session idle{wslink::config(url)};
  FAILS(state, idle.call("test.sum", lend(), &err));
  CHECK_EQ(released, 8);
  FAILS(null, wslink::session::from_c(nullptr).call("test.sum", lend(), &err));
  CHECK_EQ(released, 9);

  // The owner is destroyed after one call.
  const wslink::lent_bytes once = wslink::by_reference(check::pattern(1000));
  CHECK_EQ(session.call("test.sum", once)["len"].get<int>(), 1000);
  FAILS(argument, session.call("test.sum", once, &err));
  FAILS(argument, session.call("test.echo", wslink::args().attach(once), wslink::kw("k", once), &err));

  // A container is moved into the call; constants need no release.
  const wslink::document sum = session.call("test.sum", wslink::by_reference(check::pattern(1000, 4)));
  CHECK_EQ(sum["len"].get<int>(), 1000);
  static const char text[] = "constant";
  const wslink::document constant = session.call("test.echo", wslink::by_reference_for_ever(text, 8));
  CHECK_EQ(constant["args"][0].get<wslink::bytes_view>().as_text(), "constant");
  const wslink::document raw = session.call("test.echo", wslink::by_reference(std::vector<std::uint16_t>{1, 2}));
  CHECK_EQ(raw["args"][0].size(), 4);
}

SERVER_TEST(attachments_are_named_in_json) {
  const wslink::session session = check::ready(url);
  wslink::args args;
  const std::string key = args.attach(wslink::by_reference(check::pattern(500, 1)));
  const std::string other = args.attach(wslink::by_reference(check::pattern(10, 2)));
  CHECK(key != other && !key.empty());
  args.add(wslink::json("{\"data\": \"" + key + "\"}")).add_json_array("[\"" + other + "\", \"" + key + "\"]");
  args.add_json_keywords("{\"k\": \"" + other + "\"}");
  const wslink::document echo = session.call("test.echo", std::move(args));
  CHECK(check::is_pattern(echo["args"][0]["data"].get<wslink::bytes_view>(), 500, 1));
  CHECK(check::is_pattern(echo["args"][1].get<wslink::bytes_view>(), 10, 2));
  CHECK(check::is_pattern(echo["args"][2].get<wslink::bytes_view>(), 500, 1));
  CHECK(check::is_pattern(echo["kwargs"]["k"].get<wslink::bytes_view>(), 10, 2));
  THROWS(attachment, session.call("test.echo", wslink::json("\"wslink_bin7\"")));
}

SERVER_TEST(several_threads_call_at_once) {
  const wslink::session session = check::ready(url);
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i)
        CHECK_EQ(session.call("myprotocol.add", {t * 1000, i}).get<int>(), t * 1000 + i);
    });
  }
  for (std::thread &one : threads)
    one.join();
}

TEST(a_server_that_is_not_there_is_told_readably) {
  wslink::session session{wslink::config("ws://127.0.0.1:1/ws").connect_timeout(20s)};
  wslink::error err;
  CHECK(!session.connect(&err));
  CHECK(err.code() == wslink::code::connect && err.stage() == wslink::stage::connect && err.is_retriable());
  CHECK(std::string_view(err.message()).find("127.0.0.1:1") != std::string_view::npos);
  CHECK(wslink::check_version() && wslink_has("v1") && wslink_has("v2"));
}

SERVER_TEST(a_refused_secret_and_a_wrong_path_are_told_apart) {
  wslink::session session{wslink::config(url).secret("not the secret")};
  THROWS(auth, session.connect());
  std::string elsewhere = url.text;
  elsewhere.replace(elsewhere.rfind('/'), std::string::npos, "/nowhere");
  wslink::session other{wslink::config(elsewhere)};
  FAILS(upgrade, other.connect(&err); CHECK_EQ(err.http_status(), 404));
  wslink::session wrong{wslink::config(url).protocol(url.protocol == 1 ? wslink::protocol::v2 : wslink::protocol::v1)};
  FAILS(mismatch, wrong.connect(&err));
}

SERVER_TEST(what_is_known_of_the_server) {
  const wslink::session session = check::ready(url);
  CHECK(session.protocol() == (url.protocol == 1 ? wslink::protocol::v1 : wslink::protocol::v2));
  CHECK(!session.client_id().empty() && session.peer_address().find("127.0.0.1:") == 0);
  CHECK((session.max_msg_size() > 0) == (url.protocol == 2));
  session.call("test.info");
  const wslink::stats now = session.stats();
  CHECK(now.size == sizeof now && now.calls == 1 && now.messages_in >= 1 && now.bytes_in > 0 && now.bytes_out > 0);
  session.close();
  CHECK(session.state() == wslink::state::closed && !session.failure());
  session.close(); // a second close does nothing
}

} // namespace
