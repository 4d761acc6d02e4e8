// Ownership: moves, lifetimes, and destruction in every awkward place.

#include <functional>
#include <memory>
#include <thread>
#include <type_traits>

#include "check.hpp"

namespace {

using namespace std::chrono_literals;

static_assert(std::is_copy_constructible_v<wslink::config> && std::is_nothrow_move_constructible_v<wslink::config>);
static_assert(!std::is_copy_constructible_v<wslink::session> && std::is_nothrow_move_constructible_v<wslink::session>);
static_assert(!std::is_copy_constructible_v<wslink::subscription> &&
              std::is_nothrow_move_constructible_v<wslink::subscription>);
static_assert(!std::is_copy_constructible_v<wslink::document> &&
              std::is_nothrow_move_constructible_v<wslink::document>);
static_assert(!std::is_copy_constructible_v<wslink::buffer> && std::is_nothrow_move_constructible_v<wslink::buffer>);
static_assert(!std::is_copy_constructible_v<wslink::args> && std::is_nothrow_move_constructible_v<wslink::args>);
static_assert(!std::is_copy_constructible_v<wslink::error> && std::is_nothrow_move_constructible_v<wslink::error>);
static_assert(!std::is_copy_constructible_v<wslink::json_text> &&
              std::is_nothrow_move_constructible_v<wslink::json_text>);
static_assert(std::is_trivially_copyable_v<wslink::value> && sizeof(wslink::value) == sizeof(wslink_value));

// Moves from an object that the test uses afterwards, which linters would reject.
template <class T>
T moved(T &from) {
  return std::move(from);
}

TEST(an_error_moves_and_clones) {
  FAILS(argument, wslink::config bad("http://x", &err));
  wslink::error err;
  wslink::config bad("nonsense", &err);
  CHECK(err && err.c_ptr());
  const std::string message = err.message();
  wslink::error copy = err.clone();
  wslink::error taken = moved(err);
  CHECK(!err && err.code() == wslink::code::ok && !*err.message() && !err.c_ptr());
  CHECK_EQ(std::string_view(taken.message()), message);
  CHECK_EQ(std::string_view(copy.message()), message);
  err = moved(taken);
  CHECK(err && !taken);
  wslink_error *raw = err.release();
  CHECK(raw && !err);
  err = wslink::error::from_c(raw);
  CHECK_EQ(std::string_view(err.message()), message);
  err.clear();
  CHECK(!err);

  wslink::error local(wslink::code::argument, "said here");
  CHECK_EQ(std::string_view(local.clone().message()), "said here");
  CHECK(local.stage() == wslink::stage::local && !local.http_status() && !local.remote_code() && !local.remote_data());
  CHECK(!local.remote_value());
  CHECK(!local.c_ptr() && !local.is_retriable() && !*local.remote_message());
}

TEST(a_config_moves_and_an_empty_one_fails) {
  wslink::config first("ws://localhost/ws");
  wslink::config second = moved(first);
  CHECK(!first.c_ptr() && second.c_ptr());
  FAILS(null, first.secret("x", &err));
  FAILS(null, wslink::session s(first, &err); CHECK(!s));
  THROWS(null, first.nodelay(true));
  second = moved(second); // self-assignment
  CHECK(second.c_ptr());
  wslink::config third = wslink::config::from_c(second.release());
  CHECK(!second.c_ptr() && third.c_ptr());
  FAILS(argument, third.secret(std::string_view("a\0b", 3), &err));
  FAILS(argument, third.header("bad name\n", "x", &err));
  THROWS(argument, third.protocol(static_cast<wslink::protocol>(7)));
  wslink::error err(wslink::code::state, "before");
  third.secret("x", &err).header("X-Test", "1", &err).connect_timeout(5s, &err);
  CHECK(!err);
}

TEST(callbacks_of_a_config_live_as_long_as_it_and_its_sessions) {
  std::atomic<int> alive{0};
  {
    wslink::config config("ws://127.0.0.1:1/ws");
    const check::counted mark(alive);
    config.on_state([mark](const wslink::state_change &) {});
    config.on_progress([mark](const wslink::progress &) {});
    config.on_wakeup([mark] {});
    config.log(wslink::log_level::debug, [mark](wslink::log_level, const char *) {});
    CHECK_EQ(alive, 5);
    config.on_wakeup([] {}); // replaces the callback
    CHECK_EQ(alive, 4);
    wslink::session session(config);
    wslink::config gone = std::move(config);
    CHECK_EQ(alive, 4);
  }
  CHECK_EQ(alive, 0);
}

TEST(a_config_is_copied_and_its_callbacks_are_shared) {
  std::atomic<int> alive{0};
  wslink::config first("ws://127.0.0.1:1/ws");
  first.on_state([mark = check::counted(alive)](const wslink::state_change &) {});
  wslink::config second = first;
  CHECK(second.c_ptr() && second.c_ptr() != first.c_ptr());
  CHECK_EQ(alive, 1);

  // An option set in one copy is set only there.
  second.on_state([mark = check::counted(alive)](const wslink::state_change &) {});
  CHECK_EQ(alive, 2);
  wslink::config third("ws://127.0.0.1:2/ws");
  third = first;
  const auto &itself = second;
  second = itself;
  wslink::session session(third);
  first = wslink::config("ws://127.0.0.1:3/ws");
  third = first;
  CHECK_EQ(alive, 2); // one in the session, one in `second`
  session = wslink::session();
  CHECK_EQ(alive, 1);
  second = first;
  CHECK_EQ(alive, 0);

  const wslink::config gone = moved(first);
  const wslink::config nothing(first);
  CHECK(!nothing.c_ptr() && gone.c_ptr());
}

SERVER_TEST(copies_of_a_config_connect_as_it_does_and_keep_their_own_options) {
  int states = 0, others = 0;
  wslink::config config(url);
  config.on_state([&](const wslink::state_change &) { ++states; });
  wslink::config wrong(config);
  wrong.secret("wrong").on_state([&](const wslink::state_change &) { ++others; });
  wslink::config copy(config);
  wslink::session refused(wrong), accepted(copy);
  FAILS(auth, refused.connect(&err));
  accepted.connect();
  while (refused.dispatch() + accepted.dispatch() > 0) {
  }
  CHECK(states == 2 && others == 2); // connecting and ready; connecting and closed
}

SERVER_TEST(a_session_is_made_of_a_url) {
  const char *const text = url.text.c_str();
  wslink::session session(text); // a char*, as in argv
  session.connect();
  CHECK_EQ(session.call("myprotocol.add", {1, 2}).get<int>(), 3);
  session = wslink::session(url.text);
  CHECK(session.state() == wslink::state::idle);
  wslink::error none(wslink::code::state, "before");
  wslink::session another(std::string_view(url), &none);
  CHECK(!none && another);
  FAILS(argument, wslink::session bad("http://x", &err); CHECK(!bad));
  THROWS(argument, wslink::session("http://x"));
}

void is_empty(const wslink::session &session) {
  CHECK(!session && !session.c_ptr());
  FAILS(null, CHECK(!session.connect(&err)));
  FAILS(null, CHECK(!session.begin_connect(&err)));
  FAILS(null, CHECK(!session.close(1s, &err)));
  FAILS(null, CHECK(!session.begin_close(1s, &err)));
  FAILS(null, CHECK(!session.call("m", &err)));
  FAILS(null, CHECK(!session.request("m").wait(&err)));
  FAILS(null, CHECK(!session.request("m").then([](wslink::outcome &&) {}, &err)));
  FAILS(null, CHECK(!session.request("m").send(&err)));
  FAILS(null, CHECK(!session.request("m").send([](const wslink::error &) {}, &err)));
  FAILS(null, CHECK(!session.request("m").future(&err).valid()));
  FAILS(null, CHECK(!session.subscribe(
                  "t", [](const wslink::publication &) {}, wslink::keep_all(), &err)));
  FAILS(null, CHECK_EQ(session.dispatch(0ms, 0, &err), 0));
  FAILS(null, CHECK(!session.dispatch_until([] { return false; }, wslink::for_ever, &err)));
  FAILS(null, CHECK_EQ(session.descriptor(&err), -1));
  FAILS(null, CHECK_EQ(session.stats(&err).calls, 0));
  CHECK_EQ(session.failure().code(), wslink::code::null);
  CHECK(session.state() == wslink::state::closed && session.client_id().empty() && session.peer_address().empty());
  CHECK(!session.cancel(1) && session.protocol() == wslink::protocol::automatic && session.max_msg_size() == 0);
  THROWS(null, session.connect());
  THROWS(null, session.call("m"));
  THROWS(null, session.dispatch_until([] { return false; }));
}

TEST(an_empty_session_fails_instead_of_crashing) {
  const wslink::session none;
  is_empty(none);
  wslink::session session("ws://127.0.0.1:1/ws");
  CHECK(session && session.state() == wslink::state::idle);
  wslink::session other = moved(session);
  CHECK(!session && other);
  is_empty(session);
  CHECK(!session.release());
  session = wslink::session::from_c(other.release());
  CHECK(session && !other);
  session = wslink::session::from_c(nullptr);
  CHECK(!session);
}

static_assert(!std::is_constructible_v<wslink::session, std::nullptr_t>, "a null pointer is no URL");

TEST(a_session_tries_again_as_its_policy_and_its_filter_say) {
  std::atomic<int> alive{0};
  std::vector<std::uint32_t> attempts;
  std::vector<wslink::state> states;
  wslink::config config("ws://127.0.0.1:1/ws");
  wslink::reconnect_policy policy;
  policy.at_first = true;
  policy.first_delay = 1ms;
  policy.longest_delay = 2ms;
  config.reconnect(policy);
  config.reconnect_filter([&, mark = check::counted(alive)](const wslink::error &reason, std::uint32_t attempt) {
    CHECK(reason.code() == wslink::code::connect && reason.is_retriable());
    return attempt < 3;
  });
  config.on_state([&](const wslink::state_change &now) {
    states.push_back(now.state);
    if (now.state == wslink::state::reconnecting) {
      attempts.push_back(now.attempt);
      CHECK(now.reason && now.delay <= 2ms);
    }
  });
  {
    wslink::session session(config);
    config = wslink::config("ws://127.0.0.1:1/ws");
    wslink::error err;
    CHECK(!session.connect(&err) && err.code() == wslink::code::connect);
    CHECK(session.dispatch_until([&] { return !states.empty() && states.back() == wslink::state::closed; }, 20s));
    CHECK(alive == 1);
  }
  CHECK(alive == 0);
  CHECK((attempts == std::vector<std::uint32_t>{1, 2}));

  wslink::error err;
  policy.first_delay = 1s;
  config.reconnect(policy, &err);
  CHECK(err.code() == wslink::code::argument);
}

SERVER_TEST(a_secret_is_renewed_before_each_attempt) {
  std::atomic<int> alive{0};
  std::vector<wslink::code> reasons;
  wslink::reconnect_policy policy;
  policy.at_first = true;
  policy.first_delay = 1ms;
  {
    wslink::config config(url);
    config.reconnect(policy);
    config.before_attempt([&, mark = check::counted(alive)](wslink::attempt &next) {
      CHECK_EQ(next.number(), reasons.size());
      reasons.push_back(next.reason().code());
      next.secret(reasons.size() == 1 ? "expired" : "wslink-secret");
      next.header("X-Token", "1");
      next.url(url);
      FAILS(argument, next.url("http://localhost/", &err));
      FAILS(argument, next.header(std::string_view("a\0b", 3), "c", &err));
    });
    const wslink::session session(config);
    session.connect();
    CHECK(bool(session.call("test.echo")));
  }
  CHECK(alive == 0);
  CHECK((reasons == std::vector<wslink::code>{wslink::code::ok, wslink::code::auth}));

  // A filter that refuses.
  wslink::config config(url);
  const wslink::session no(config.before_attempt([](const wslink::attempt &) { return false; }));
  FAILS(cancelled, no.connect(&err));
}

TEST(calls_before_ready_are_refused_and_callbacks_dropped) {
  wslink::session session(wslink::config("ws://127.0.0.1:1/ws"));
  std::atomic<int> alive{0};
  FAILS(state, CHECK_EQ(session.request("m").then([c = check::counted(alive)](wslink::outcome) {}, &err), 0));
  CHECK_EQ(alive, 0);
  FAILS(state, CHECK(!session.request("m").future(&err).valid()));
  THROWS(state, session.call("m"));
  THROWS(connect, session.connect());
  CHECK_EQ(session.failure().code(), wslink::code::connect);
  CHECK(session.failure().is_retriable() && session.failure().stage() == wslink::stage::connect);
}

SERVER_TEST(documents_buffers_and_text_outlive_the_session) {
  wslink::buffer kept;
  wslink::document reply;
  wslink::json_text text;
  wslink::value view;
  {
    wslink::session session = check::ready(url);
    reply = session.call("test.bytes.twice", 70'000, 5);
    view = reply["a"];
    kept = view.get<wslink::buffer>();
    text = reply.result().to_json();
    wslink::document again = view.share();
    CHECK(again.c_ptr() == reply.c_ptr());
  }
  CHECK(check::is_pattern(view.get<wslink::bytes_view>(), 70'000, 5));
  wslink::document other = moved(reply);
  CHECK(!reply && other && !reply.result() && !reply["a"] && reply.size() == 0 && reply.wire_size() == 0);
  reply = wslink::document::from_c(other.release());
  CHECK(reply && !other);
  reply = wslink::document();
  wslink::buffer second = kept.share();
  wslink::buffer third = moved(kept);
  CHECK(!kept && kept.size() == 0 && kept.begin() == kept.end() && !kept.share());
  CHECK(second.data() == third.data());
  third = wslink::buffer();
  const wslink_buffer *raw = second.release();
  second = wslink::buffer::from_c(raw);
  CHECK(check::is_pattern(second, 70'000, 5));

  CHECK_EQ(text.attachment_count(), 2);
  CHECK(check::is_pattern(text.attachment(1), 70'000, 5));
  CHECK_EQ(text.text(), "{\"a\": \"wslink_bin0\", \"b\": [\"wslink_bin1\"]}");
  CHECK_EQ(text.attachment_key(1), "wslink_bin1");
  CHECK(!text.attachment(2) && text.attachment_key(2).empty());
  wslink::json_text more = moved(text);
  CHECK(text.text().empty() && text.attachment_count() == 0 && more.attachment_count() == 2);
  text = wslink::json_text::from_c(more.release());
  CHECK_EQ(text.attachment_count(), 2);
}

SERVER_TEST(arguments_move_and_are_taken_by_calls) {
  const wslink::session session = check::ready(url);
  wslink::args args;
  args.add(1).add("two").keyword("three").add({3});
  wslink::args other = moved(args);
  CHECK(!args.c_ptr());
  args.add(5);
  FAILS(null, session.call("test.echo", std::move(args), &err));
  args = moved(other);
  const auto reply = session.call("test.echo", std::move(args));
  CHECK_EQ(reply.result().to_json().text(), "{\"args\": [1, \"two\"], \"kwargs\": {\"three\": [3]}}");
  CHECK_EQ(session.call("test.echo", std::move(args.add(6)))["args"].to_json().text(), "[6]"); // filled again
  args = wslink::args();
  args = wslink::args::from_c(args.release());
  args.begin_map().key("k").begin_list().add(1.5).end().end();
  CHECK_EQ(session.call("test.echo", std::move(args))["args"].to_json().text(), "[{\"k\": [1.5]}]");
}

// Runs `end` in a callback of a session with the given delivery, which ends it, and checks that all callables are
// destroyed.
template <class Start>
void end_inside(const check::server &url, wslink::delivery where, Start start) {
  std::atomic<int> alive{0};
  std::atomic<bool> started{where == wslink::delivery::queued}, ended{false};
  {
    auto session = std::make_unique<wslink::session>(check::ready(url, where));
    auto end = [&, mark = check::counted(alive)] {
      while (!started)
        std::this_thread::yield(); // this thread may destroy the session only when the other one has left it
      session.reset();
      ended = true;
    };
    std::unique_ptr<wslink::subscription> kept = start(*session, end);
    if (where == wslink::delivery::queued) {
      CHECK(!session->dispatch_until([&] { return false; }, 20s)); // the end of the session ends the wait
    } else {
      started = true;
      while (!ended)
        std::this_thread::yield();
    }
    CHECK(ended && !session && (!kept || !*kept));
    // The callback's data is destroyed when it returns; on the I/O thread that is after `ended`.
    kept.reset();
  }
  for (long turns = 0; alive != 0 && turns < 100'000'000; ++turns)
    std::this_thread::yield();
  CHECK_EQ(alive, 0);
}

std::unique_ptr<wslink::subscription> in_completion(const wslink::session &s, std::function<void()> end) {
  s.request("test.info").then([end = std::move(end)](wslink::outcome &&) { end(); });
  return nullptr;
}
std::unique_ptr<wslink::subscription> in_publication(const wslink::session &s, std::function<void()> end) {
  auto kept = std::make_unique<wslink::subscription>(
      s.subscribe("end.inside", [end = std::move(end)](const wslink::publication &) { end(); }));
  s.request("test.publish", "end.inside").then([](wslink::outcome &&) {});
  return kept;
}

SERVER_TEST(a_session_may_end_in_its_completion) {
  end_inside(url, wslink::delivery::queued, in_completion);
  end_inside(url, wslink::delivery::io_thread, in_completion);
}
SERVER_TEST(a_session_may_end_in_its_publication) {
  end_inside(url, wslink::delivery::queued, in_publication);
  end_inside(url, wslink::delivery::io_thread, in_publication);
}

SERVER_TEST(a_session_may_end_in_its_state_and_progress_callbacks) {
  for (const bool in_progress : {false, true}) {
    std::unique_ptr<wslink::session> session;
    wslink::config config{url};
    config.on_state([&](const wslink::state_change &now) {
      if (!in_progress && now.state == wslink::state::ready)
        session.reset();
    });
    config.on_progress([&](const wslink::progress &) { session.reset(); });
    session = std::make_unique<wslink::session>(config);
    session->connect();
    wslink::code outcome = wslink::code::ok;
    session->request("test.bytes", 2'000'000).then([&](wslink::outcome &&o) { outcome = o.failure().code(); });
    CHECK(!session->dispatch_until([&] { return false; }, 20s));
    CHECK(!session);
    // Calls in flight complete as closed before the destructor returns. Replies that arrived before are not reported as
    // closed.
    CHECK(outcome == wslink::code::closed || in_progress);
  }
}

SERVER_TEST(a_session_ends_with_the_callable_that_owns_it) {
  auto session = std::make_shared<wslink::session>(check::ready(url));
  std::weak_ptr<wslink::session> seen = session;
  wslink::session &used = *session;
  bool called = false;
  used.request("test.info").then([session, &called](wslink::outcome &&) { called = true; });
  session.reset();
  CHECK(!seen.expired());
  used.dispatch_until([&] { return called; }, 20s);
  CHECK(called && seen.expired());
}

SERVER_TEST(calls_in_flight_end_with_the_session) {
  std::atomic<int> alive{0};
  wslink::code outcome = wslink::code::ok;
  {
    const wslink::session session = check::ready(url);
    session.request("test.sleep", 30).then([&, mark = check::counted(alive)](wslink::outcome &&o) {
      outcome = o.failure().code();
    });
    CHECK_EQ(alive, 1);
  }
  CHECK(outcome == wslink::code::closed && alive == 0);
}

SERVER_TEST(a_subscription_may_end_in_its_own_callback) {
  const wslink::session session = check::ready(url);
  std::atomic<int> alive{0};
  int calls = 0;
  wslink::subscription own;
  own = session.subscribe("own.end", [&, mark = check::counted(alive)](const wslink::publication &) {
    ++calls;
    own.reset();
    CHECK(alive == 1 && !own);
  });
  int others = 0;
  const auto other = session.subscribe("own.end", [&](const wslink::publication &) { ++others; });
  session.call("test.publish", "own.end", 3);
  CHECK(session.dispatch_until([&] { return others == 3; }, 20s));
  CHECK(calls == 1 && alive == 0);
}

SERVER_TEST(subscriptions_move_detach_and_end) {
  const wslink::session session = check::ready(url);
  int first = 0, second = 0, all = 0;
  wslink::subscription a = session.subscribe("s.move", [&](const wslink::publication &) { ++first; });
  wslink::subscription b = session.subscribe("s.move", [&](const wslink::publication &) { ++second; });
  session.subscribe("s.move", [&](const wslink::publication &) { ++all; }).detach();
  CHECK(a && b && a.id() != b.id());
  const auto id = b.id();
  a = moved(b); // ends the first subscription
  CHECK(a && !b && a.id() == id);
  CHECK_EQ(b.id(), 0);
  FAILS(null, b.counts(&err));
  session.call("test.publish", "s.move", 2);
  CHECK(session.dispatch_until([&] { return all == 2; }, 20s));
  CHECK(first == 0 && second == 2);
  CHECK_EQ(a.counts().delivered, 2);
  a.reset();
  a.reset();
  session.call("test.publish", "s.move", 1);
  CHECK(session.dispatch_until([&] { return all == 3; }, 20s));
  CHECK_EQ(second, 2);
}

SERVER_TEST(a_subscription_may_outlive_its_session) {
  wslink::subscription kept;
  std::atomic<int> alive{0};
  {
    wslink::session session = check::ready(url);
    kept = session.subscribe("outlive", [mark = check::counted(alive)](const wslink::publication &) {});
    wslink::session moved_on = std::move(session);
    CHECK(kept && alive == 1);
  }
  CHECK(!kept && alive == 0);
  FAILS(null, kept.counts(&err));
  kept.reset();

  wslink::session session = check::ready(url);
  kept = session.subscribe("released", [](const wslink::publication &) {});
  wslink_session *raw = session.release(); // continues without the wrapper
  CHECK(raw && !kept && wslink_session_state(raw) == WSLINK_STATE_READY);
  kept.reset();
  wslink_session_free(raw);
}

SERVER_TEST(a_subscription_may_own_its_session) {
  // The end of the subscription destroys its callable, which destroys the session while it is in use.
  auto session = std::make_shared<wslink::session>(check::ready(url));
  std::weak_ptr<wslink::session> seen = session;
  wslink::subscription sub = session->subscribe("owner", [session](const wslink::publication &) {});
  session.reset();
  CHECK(!seen.expired());
  sub.reset();
  CHECK(seen.expired());
}

SERVER_TEST(a_session_may_end_while_another_thread_ends_its_subscription) {
  for (int round = 0; round < 20; ++round) {
    auto session = std::make_unique<wslink::session>(check::ready(url));
    std::atomic<bool> inside{false}, ending{false};
    wslink::subscription sub = session->subscribe("race", [&](const wslink::publication &) {
      inside = true;
      while (!ending)
        std::this_thread::yield();
      session.reset(); // must not wait for the thread that waits for this callback
    });
    std::thread other([&] {
      while (!inside)
        std::this_thread::yield();
      ending = true;
      sub.reset();
    });
    session->request("test.publish", "race").then([](wslink::outcome &&) {});
    CHECK(!session->dispatch_until([] { return false; }, 20s));
    other.join();
    CHECK(!session && !sub);
  }
}

} // namespace
