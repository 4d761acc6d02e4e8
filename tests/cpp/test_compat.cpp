// The class of Kitware's C++ client: calls, subscriptions, failures, and destruction at every moment.

#include <condition_variable>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <wslink/compat/wsWebsocketConnection.h>

#include "check.hpp"

namespace {

struct place {
  std::string host;
  std::string port;
  std::string target;
};
// The parts of a test URL, `ws://host:port/ws`.
place place_of(const check::server &url) {
  const std::string rest = url.text.substr(5);
  const std::size_t colon = rest.find(':');
  const std::size_t slash = rest.find('/');
  return {rest.substr(0, colon), rest.substr(colon + 1, slash - colon - 1), rest.substr(slash)};
}
bool connect(wsWebsocketConnection &ws, const check::server &url) {
  const place at = place_of(url);
  return ws.connect(at.host, at.port, at.target);
}
std::string error_of(wsWebsocketConnection &ws) {
  std::string text;
  CHECK(ws.GetErrorText(text));
  return text;
}
// The messages of callbacks, and a wait for them.
class ear {
public:
  void hear(const json &message) {
    std::lock_guard<std::mutex> lock(mutex_);
    heard_.push_back(message);
    changed_.notify_all();
  }
  json next() {
    std::unique_lock<std::mutex> lock(mutex_);
    MUST(changed_.wait_for(lock, std::chrono::minutes(1), [&] { return !heard_.empty(); }));
    json first = std::move(heard_.front());
    heard_.pop_front();
    return first;
  }
  bool nothing() {
    std::lock_guard<std::mutex> lock(mutex_);
    return heard_.empty();
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<json> heard_;
};
// Publishes `value` on a topic, and returns when the server has replied.
bool publish(wsWebsocketConnection &ws, const std::string &topic, const json &value, int count = 1) {
  json args = {topic, count, value};
  json answer;
  return ws.send("test.publish", &answer, &args) && answer["result"] == count;
}
// When this returns, all earlier publications have been handled.
void settle(wsWebsocketConnection &ws) {
  ear last;
  CHECK(ws.subscribe("compat.last", [&](const json &message) { last.hear(message); }));
  CHECK(publish(ws, "compat.last", nullptr));
  last.next();
  CHECK(ws.unsubscribe("compat.last"));
}
// Captures the output to a stream.
class caught {
public:
  explicit caught(std::ostream &stream) : stream_(stream), before_(stream.rdbuf(text_.rdbuf())) {}
  ~caught() { stream_.rdbuf(before_); }
  caught(const caught &) = delete;
  caught &operator=(const caught &) = delete;
  std::string text() const { return text_.str(); }

private:
  std::ostringstream text_;
  std::ostream &stream_;
  std::streambuf *before_;
};

SERVER_TEST(calls_are_answered_by_whole_messages) {
  wsWebsocketConnection ws{"wslink-secret"};
  MUST(connect(ws, url));
  json args = {{1, 2, 3}};
  json result;
  CHECK(ws.send("myprotocol.add", &result, &args));
  CHECK(result["result"] == 6 && result["wslink"] == "1.0");
  CHECK_EQ(result["id"].get<std::string>().substr(0, 4), std::string("rpc:"));

  args = {"one", 2, json::binary({1, 2, 3}), nullptr};
  json kwargs = {{"name", {{"nested", true}}}};
  CHECK(ws.send("test.echo", &result, &args, &kwargs));
  CHECK(result["result"] == json({{"args", args}, {"kwargs", kwargs}}));
  CHECK(ws.send("test.echo", &result, nullptr, &kwargs) && result["result"]["args"].empty());
  CHECK(ws.send("test.echo", &result) && result["result"]["kwargs"].empty());
  CHECK(ws.send("test.bytes", &result, &(args = {1000})));
  CHECK(result["result"] == json::binary(check::pattern(1000)));
  CHECK(error_of(ws).empty());
  CHECK(ws.close());
}

SERVER_TEST(errors_of_the_server_are_answers) {
  wsWebsocketConnection ws{"wslink-secret"};
  MUST(connect(ws, url));
  json result;
  CHECK(ws.send("test.raise", &result) && !result.contains("result"));
  CHECK(result["error"]["code"] == -32001 && result["error"]["message"].is_string());
  CHECK(result["error"]["data"]["method"] == "test.raise");
  CHECK(ws.send("no.such.method", &result) && result["error"]["code"] == -32601);
  CHECK(error_of(ws).empty());
  // The reply has no receiver, so the text reports the error. The next call is answered after it.
  CHECK(ws.send("test.raise", nullptr));
  CHECK(ws.send("test.echo", &result) && result.contains("result"));
  settle(ws);
  CHECK(error_of(ws).find("send: ") == 0);
}

SERVER_TEST(what_cannot_be_done_is_false_and_says_why) {
  json result = "untouched";
  {
    wsWebsocketConnection ws{"wslink-secret"};
    CHECK(error_of(ws).empty());
    CHECK(!ws.send("test.echo", &result) && error_of(ws) == "send: not connected");
    CHECK(!ws.send("test.echo", nullptr) && !ws.close() && error_of(ws) == "close: not connected");
    CHECK(!ws.subscribe("topic", nullptr) && error_of(ws).find("subscribe: ") == 0);
    CHECK(ws.unsubscribe("topic"));
    CHECK(!ws.connect("no host", "port", "ws") && error_of(ws).find("connect: ") == 0);
    CHECK(!ws.connect("127.0.0.1", "1", "/ws"));
    CHECK(!ws.connect(place_of(url).host, place_of(url).port, "/elsewhere"));
    CHECK(error_of(ws).find("404") != std::string::npos);
    // After these failures it connects; a missing slash is added.
    MUST(ws.connect(place_of(url).host, place_of(url).port, "ws"));

    json object = {{"a", 1}};
    json list = {1};
    CHECK(!ws.send("test.echo", &result, &object) && error_of(ws).find("array") != std::string::npos);
    CHECK(!ws.send("test.echo", nullptr, &list, &list) && error_of(ws).find("object") != std::string::npos);
    CHECK(result == "untouched");
    CHECK(ws.send("test.echo", &result, &list, &object));
  }
  wsWebsocketConnection stranger{"wrong"};
  CHECK(!connect(stranger, url) && error_of(stranger).find("wrong") == std::string::npos);
  CHECK(!stranger.send("test.echo", &result));
}

SERVER_TEST(the_end_of_the_connection_is_told) {
  wsWebsocketConnection ws{"wslink-secret"};
  MUST(connect(ws, url));
  json result = "untouched";
  CHECK(!ws.send("test.cancelled", &result) && result == "untouched");
  CHECK(!error_of(ws).empty());
  CHECK(!ws.send("test.echo", &result));
  MUST(connect(ws, url));
  CHECK(ws.send("test.echo", &result));
}

SERVER_TEST(subscriptions_bring_whole_messages_in_order) {
  wsWebsocketConnection ws{"wslink-secret"};
  ear channel;
  CHECK(ws.subscribe("compat.topic", [&](const json &message) { channel.hear(message); }));
  MUST(connect(ws, url));
  CHECK(publish(ws, "compat.topic", json::binary({7}), 20));
  for (int i = 0; i < 20; ++i) {
    const json message = channel.next();
    CHECK(message["result"] == json({{"i", i}, {"value", json::binary({7})}}));
    CHECK_EQ(message["id"].get<std::string>().substr(0, 21), std::string("publish:compat.topic:"));
  }
  // A publication that the server could not send has no result.
  json args = {"compat.topic"};
  json result;
  CHECK(ws.send("test.publish.bad", &result, &args));
  settle(ws);
  CHECK(channel.nothing() && error_of(ws).find("publish: ") == 0);
}

SERVER_TEST(a_topic_has_one_callback) {
  std::atomic<int> alive{0};
  ear first, second, other;
  wsWebsocketConnection ws{"wslink-secret"};
  MUST(connect(ws, url));
  CHECK(ws.subscribe("compat.topic",
                     [&, here = check::counted(alive)](const json &m) { first.hear(m["result"]["value"]); }));
  CHECK(ws.subscribe("compat.other", [&](const json &m) { other.hear(m["result"]["value"]); }));
  CHECK(publish(ws, "compat.topic", 1));
  CHECK(first.next() == 1);
  settle(ws);
  CHECK(ws.subscribe("compat.topic", [&](const json &m) { second.hear(m["result"]["value"]); }));
  CHECK_EQ(alive.load(), 0);
  CHECK(publish(ws, "compat.topic", 2));
  CHECK(second.next() == 2);

  CHECK(ws.unsubscribe("compat.topic") && ws.unsubscribe("compat.topic"));
  CHECK(publish(ws, "compat.topic", 3) && publish(ws, "compat.other", 4));
  CHECK(other.next() == 4);
  settle(ws);
  CHECK(first.nothing() && second.nothing() && other.nothing());
  CHECK(ws.subscribe("compat.topic", [&](const json &m) { first.hear(m["result"]["value"]); }));
  CHECK(publish(ws, "compat.topic", 5));
  CHECK(first.next() == 5 && second.nothing());
}

SERVER_TEST(it_connects_again_and_keeps_subscriptions) {
  wsWebsocketConnection ws{"wslink-secret"};
  ear channel, ended;
  CHECK(ws.subscribe("compat.topic", [&](const json &m) { channel.hear(m["result"]["value"]); }));
  CHECK(ws.subscribe("compat.ended", [&](const json &m) { ended.hear(m); }));
  for (int i = 0; i < 3; ++i) {
    MUST(connect(ws, url));
    CHECK(publish(ws, "compat.topic", i) && channel.next() == i);
    if (i == 0)
      CHECK(ws.unsubscribe("compat.ended"));
    CHECK(publish(ws, "compat.ended", i));
    // Closes, connects the open connection again, and closes twice.
    if (i != 1)
      CHECK(ws.close());
    if (i == 2)
      CHECK(!ws.close());
    if (i != 1)
      CHECK(!ws.send("test.echo", nullptr));
  }
  CHECK(channel.nothing());
}

SERVER_TEST(what_was_sent_goes_out_before_it_ends) {
  wsWebsocketConnection listener{"wslink-secret"};
  MUST(connect(listener, url));
  ear channel;
  CHECK(listener.subscribe("compat.topic", [&](const json &m) { channel.hear(m["result"]["value"]); }));
  for (int i = 0; i < 2; ++i) {
    auto speaker = std::make_unique<wsWebsocketConnection>("wslink-secret");
    MUST(connect(*speaker, url));
    json args = {"compat.topic", 1, i};
    CHECK(speaker->send("test.publish", nullptr, &args));
    if (i == 0)
      CHECK(speaker->close());
    speaker.reset();
    CHECK(channel.next() == i);
  }
}

SERVER_TEST(callbacks_may_call_and_wait) {
  wsWebsocketConnection ws{"wslink-secret"};
  MUST(connect(ws, url));
  ear channel, more;
  CHECK(ws.subscribe("compat.topic", [&](const json &message) {
    json args = {message["result"]["value"], 5};
    json list = json::array({args}); // braces alone mean different things to different compilers
    json sum;
    CHECK(ws.send("myprotocol.add", &sum, &list));
    CHECK(ws.subscribe("compat.more", [&](const json &m) { more.hear(m["result"]["value"]); }));
    CHECK(ws.unsubscribe("compat.topic"));
    channel.hear(sum["result"]);
  }));
  CHECK(publish(ws, "compat.topic", 1, 3));
  CHECK(channel.next() == 6);
  CHECK(publish(ws, "compat.more", "heard") && more.next() == "heard");
  settle(ws);
  CHECK(channel.nothing());
}

SERVER_TEST(callbacks_may_close_and_connect) {
  ear channel;
  std::atomic<int> finished{0};
  {
    wsWebsocketConnection ws{"wslink-secret"};
    CHECK(ws.subscribe("compat.topic", [&](const json &message) {
      const bool again = message["result"]["value"].get<bool>();
      CHECK(ws.close());
      CHECK(!ws.send("test.echo", nullptr));
      CHECK(!again || connect(ws, url));
      channel.hear(again);
      for (int i = 0; i < 1000; ++i)
        std::this_thread::yield();
      ++finished;
    }));
    MUST(connect(ws, url));
    for (int i = 0; i < 3; ++i) {
      json args = {"compat.topic", 5, true}; // four of the five publications are too late
      CHECK(ws.send("test.publish", nullptr, &args));
      CHECK(channel.next() == true);
    }
    settle(ws);
    CHECK(channel.nothing());
    json args = {"compat.topic", 5, false};
    CHECK(ws.send("test.publish", nullptr, &args));
    CHECK(channel.next() == false);
  }
  // The close waited for the callback inside which it began.
  CHECK_EQ(finished.load(), 4);
}

SERVER_TEST(it_may_be_destroyed_in_its_callback) {
  struct at_end {
    std::promise<void> &over;
    ~at_end() { over.set_value(); }
  };
  for (int i = 0; i < 5; ++i) {
    ear channel;
    std::promise<void> published, over;
    std::future<void> has_published = published.get_future(), is_over = over.get_future();
    auto ws = std::make_unique<wsWebsocketConnection>("wslink-secret");
    MUST(connect(*ws, url));
    CHECK(ws->subscribe("compat.topic", [&, end = std::shared_ptr<at_end>(new at_end{over})](const json &message) {
      has_published.wait(); // no other thread uses it any more
      ws.reset();
      channel.hear(message["result"]["i"]);
      CHECK(end.use_count() == 1); // the callable still exists
    }));
    CHECK(publish(*ws, "compat.topic", nullptr, 5));
    published.set_value();
    MUST(is_over.wait_for(std::chrono::minutes(1)) == std::future_status::ready);
    CHECK(channel.next() == 0 && channel.nothing() && !ws);
  }
}

SERVER_TEST(threads_may_share_it) {
  wsWebsocketConnection ws{"wslink-secret"};
  MUST(connect(ws, url));
  std::atomic<int> heard{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string topic = "compat." + std::to_string(t % 2);
      for (int i = 0; i < 25; ++i) {
        json args = {{t, i}};
        json sum;
        CHECK(ws.send("myprotocol.add", &sum, &args) && sum["result"] == t + i);
        CHECK(ws.subscribe(topic, [&](const json &) { ++heard; }));
        CHECK(publish(ws, topic, i));
        CHECK(ws.unsubscribe(topic));
      }
    });
  }
  for (std::thread &thread : threads)
    thread.join();
  settle(ws);
  const int before = heard;
  CHECK(publish(ws, "compat.0", nullptr) && publish(ws, "compat.1", nullptr));
  settle(ws);
  CHECK_EQ(heard.load(), before);
}

SERVER_TEST(debugging_shows_messages_and_failures) {
  const caught out(std::cout);
  const caught err(std::cerr);
  {
    wsWebsocketConnection ws{"wslink-secret"};
    MUST(connect(ws, url));
    json result;
    json args = {"not shown"};
    CHECK(ws.send("test.echo", &result, &args) && !ws.send("test.echo", &result, &result));
    CHECK(out.text().empty() && err.text().empty());
    CHECK(ws.DebugOn());
    args = {"shown"};
    CHECK(ws.send("test.echo", &result, &args) && ws.send("test.echo", nullptr, &args));
    CHECK(ws.subscribe("compat.topic", [](const json &) {}) && publish(ws, "compat.topic", "published"));
    settle(ws);
    json object = json::object();
    CHECK(!ws.send("test.echo", &result, &object));
    CHECK_EQ(err.text(), error_of(ws) + "\n");
  }
  std::istringstream lines(out.text());
  int shown = 0, published = 0;
  for (std::string line; std::getline(lines, line);) {
    const json message = json::parse(line);
    shown += message["result"].is_object() && message["result"].value("args", json()) == json{"shown"};
    published += message["result"].is_object() && message["result"].value("value", json()) == "published";
  }
  CHECK(shown == 2 && published == 1);
  CHECK(out.text().find("wslink-secret") == std::string::npos);
}

} // namespace
