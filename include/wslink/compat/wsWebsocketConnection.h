/// @file
/// The class of Kitware's C++ client (part of wslink until 2024) over wslink.hpp: programs written for it build with
/// only the path of this header changed, and work with servers of both protocols. CMake has the component and target
/// `wslink::compat`, which brings nlohmann_json. New programs use wslink.hpp; docs/coming-from-kitware-cpp.md maps
/// every call to it.

#ifndef WSLINK_COMPAT_WSWEBSOCKETCONNECTION_H
#define WSLINK_COMPAT_WSWEBSOCKETCONNECTION_H

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../../wslink.hpp"
#include "../adapters/nlohmann.hpp"

/// As programs for that client expect it.
using json = nlohmann::json;

namespace wslink {
inline namespace WSLINK_CPP_ABI {
namespace detail {

/// What a connection shares with its callbacks, which may outlive it.
class compat_state {
public:
  using handler = std::shared_ptr<const std::function<void(const nlohmann::json &)>>;

  void debug_on() {
    std::lock_guard<std::mutex> lock(mutex_);
    debug_ = true;
  }
  std::string error_text() {
    std::lock_guard<std::mutex> lock(mutex_);
    return error_text_;
  }
  /// Keeps the text. Always false, which is what the function that failed returns.
  bool failed(const char *what, std::string_view why) {
    std::lock_guard<std::mutex> lock(mutex_);
    error_text_ = std::string(what).append(": ").append(why);
    if (debug_)
      std::cerr << error_text_ << std::endl;
    return false;
  }
  /// Shows a message.
  void received(const value &message) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (debug_)
      std::cout << message.to_json().text() << std::endl;
  }
  /// Puts a handler in the place of the one that is returned.
  handler exchange(const std::string &topic, handler with) {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(handlers_[topic], std::move(with));
  }
  /// Takes a handler out.
  handler take(const std::string &topic) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = handlers_.extract(topic);
    return found ? std::move(found.mapped()) : nullptr;
  }
  /// The topics that have a handler.
  std::vector<std::string> topics() {
    std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::string> all;
    for (const auto &one : handlers_)
      all.push_back(one.first);
    return all;
  }
  /// Gives a publication to the handler of its topic.
  void handle(const publication &said) {
    const document message = said.share();
    if (!message) {
      failed("publish", said.failure().message());
      return;
    }
    received(message.root());
    handler now;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto found = handlers_.find(std::string(said.topic()));
      if (found != handlers_.end())
        now = found->second;
    }
    if (now)
      (*now)(message.root().get<nlohmann::json>());
  }

private:
  std::mutex mutex_;
  std::map<std::string, handler> handlers_;
  std::string error_text_;
  bool debug_ = false;
};

/// A session with the thread that runs its callbacks. Not the I/O thread, so that they may take their time and make
/// calls.
class compat_line {
public:
  /// As session's constructor.
  compat_line(config &options, error *err)
      : bell_(std::make_shared<bell>()),
        session_(options.on_wakeup([b = bell_] { b->ring(&bell::events); }, err), err) {}
  compat_line(const compat_line &) = delete;
  compat_line &operator=(const compat_line &) = delete;

  const wslink::session &session() const noexcept { return session_; }
  /// Starts the thread, which keeps the line.
  static void start(const std::shared_ptr<compat_line> &line) {
    std::lock_guard<std::mutex> lock(line->bell_->mutex);
    line->thread_ = std::thread(run, line);
  }
  /// Lets the thread end after the callback that it runs.
  void stop() { bell_->ring(&bell::stopped); }
  /// Whether the thread is here, in a callback.
  bool is_here() const noexcept { return thread_.get_id() == std::this_thread::get_id(); }
  /// Whether the thread has ended.
  bool is_over() const { return bell_->is(&bell::over); }
  /// Waits for the thread, or leaves it to itself if it is here. Once, after stop().
  void leave() { is_here() ? thread_.detach() : thread_.join(); }

private:
  struct bell {
    std::mutex mutex;
    std::condition_variable rung;
    bool events = false;
    bool stopped = false;
    bool over = false;

    void ring(bool bell::*why) {
      std::lock_guard<std::mutex> lock(mutex);
      this->*why = true;
      rung.notify_one();
    }
    /// Waits for events; false if it was stopped.
    bool wait() {
      std::unique_lock<std::mutex> lock(mutex);
      rung.wait(lock, [this] { return events || stopped; });
      events = false;
      return !stopped;
    }
    bool is(bool bell::*what) {
      std::lock_guard<std::mutex> lock(mutex);
      return this->*what;
    }
  };

  static void run(const std::shared_ptr<compat_line> &line) {
    error failed;
    while (line->bell_->wait()) {
      // One at a time, to see when a callback stops it.
      while (!line->bell_->is(&bell::stopped) &&
             line->session_.dispatch(std::chrono::milliseconds(0), 1, &failed) > 0) {
      }
    }
    line->bell_->ring(&bell::over);
  }

  std::shared_ptr<bell> bell_;
  wslink::session session_;
  std::thread thread_;
};

/// The message of a server that answered with an error.
inline nlohmann::json compat_error(const error &why) {
  nlohmann::json message = {{"wslink", "1.0"},
                            {"error", {{"code", why.remote_code().value_or(0)}, {"message", why.remote_message()}}}};
  if (const value data = why.remote_data())
    message["error"]["data"] = data.get<nlohmann::json>();
  return message;
}

} // namespace detail
} // namespace WSLINK_CPP_ABI
} // namespace wslink

/// A connection to a wslink server. Functions return true on success; if not, GetErrorText() tells why. Failures are
/// never thrown.
///
/// Any thread may use it, and callbacks may too: each of them may make calls, unsubscribe, close, and destroy the
/// connection. Callbacks run one after the other on a thread of the connection. An exception that leaves one goes to
/// the hook of wslink::set_exception_hook(), and ends the program if there is none.
class wsWebsocketConnection {
public:
  /// Receives a whole message: `message["id"]`, `message["result"]`. Binary data is `json::binary`.
  using TopicCallBackType = std::function<void(const json &)>;

  /// A connection that is not there yet, and the secret for it.
  wsWebsocketConnection(std::string secret) : secret_(std::move(secret)) {} // NOLINT: implicit, as it was
  wsWebsocketConnection(const wsWebsocketConnection &) = delete;
  wsWebsocketConnection &operator=(const wsWebsocketConnection &) = delete;
  /// Closes the connection. No callback runs afterwards, except the one that does this.
  ~wsWebsocketConnection() {
    wslink::error unseen;
    end(take(), unseen);
    for (const auto &line : ended_)
      line->leave();
  }

  /// Connects to `ws://host:port/target` and waits until the server has accepted the secret. A connection that was
  /// there is closed before; subscriptions stay.
  bool connect(std::string host, std::string port, std::string target) {
    wslink::error err;
    end(take(), err);
    const bool is_ipv6 = host.find(':') != host.npos && host.front() != '[';
    const std::string url = "ws://" + (is_ipv6 ? "[" + host + "]" : host) + ":" + port +
                            (target.empty() || target.front() != '/' ? "/" : "") + target;
    wslink::config options(url, &err);
    if (!err)
      options.secret(secret_, &err);
    if (err)
      return state_->failed("connect", err.message());
    options.on_state(
        [state = state_](const wslink::state_change &now) {
          if (now.state == wslink::state::lost)
            state->failed("read", now.reason.message());
        },
        &err);
    const auto line = std::make_shared<wslink::detail::compat_line>(options, &err);
    if (err)
      return state_->failed("connect", err.message());
    {
      std::lock_guard<std::mutex> lock(mutex_);
      now_.line = line;
      for (const std::string &topic : state_->topics())
        listen(topic);
      line->start(line);
    }
    if (line->session().connect(&err))
      return true;
    wslink::error unseen;
    end(take(), unseen);
    return state_->failed("connect", err.message());
  }

  /// Calls a method. `args` is an array of arguments, `kwargs` an object of named ones.
  ///
  /// With `result` it waits for the answer, which is a whole message: `(*result)["result"]`, or `(*result)["error"]`
  /// with `code`, `message` and `data` if the method failed at the server. Both are success; false means that there was
  /// no answer. Without `result` it does not wait, and success means that the call was accepted.
  bool send(std::string method, json *result, json *args = nullptr, json *kwargs = nullptr) {
    const std::shared_ptr<wslink::detail::compat_line> line = current();
    if (!line)
      return state_->failed("send", "not connected");
    const json none;
    wslink::request request =
        line->session().request(method, wslink::args_from(args ? *args : none, kwargs ? *kwargs : none));
    wslink::error err;
    if (!result) {
      request.then(
          [state = state_](wslink::outcome &&answer) {
            wslink::error why;
            const wslink::document message = answer.take(&why);
            if (message)
              state->received(message.root());
            else if (why.code() == wslink::code::remote)
              state->failed("send", why.message());
          },
          &err);
      return !err || state_->failed("send", err.message());
    }
    const wslink::document message = request.wait(&err);
    if (message) {
      state_->received(message.root());
      *result = message.root().get<json>();
      return true;
    }
    if (err.code() != wslink::code::remote)
      return state_->failed("send", err.message());
    *result = wslink::detail::compat_error(err);
    return true;
  }

  /// Gives what is published on a topic to a callback, in the place of the one that it had. In any state; stays until
  /// unsubscribe(), over several connections.
  bool subscribe(std::string topic, TopicCallBackType callback) {
    if (!callback)
      return state_->failed("subscribe", "no callback");
    // Destroyed at the end, without a lock.
    const auto before = state_->exchange(topic, std::make_shared<const TopicCallBackType>(std::move(callback)));
    std::lock_guard<std::mutex> lock(mutex_);
    return now_.subscriptions.count(topic) || !now_.line || listen(topic);
  }

  /// Ends the subscription to a topic, if there is one: its callback is not called any more, and waited for if it is
  /// running on another thread.
  bool unsubscribe(std::string topic) {
    // Both are destroyed at the end, without a lock, because that waits for callbacks.
    const auto before = state_->take(topic);
    std::map<std::string, wslink::subscription>::node_type ended;
    std::lock_guard<std::mutex> lock(mutex_);
    ended = now_.subscriptions.extract(topic);
    return true;
  }

  /// Closes the connection; what was sent before still goes out. It may be connected again.
  bool close() {
    connection before = take();
    if (!before.line)
      return state_->failed("close", "not connected");
    wslink::error err;
    end(std::move(before), err);
    return !err || state_->failed("close", err.message());
  }

  /// From now on shows received messages on std::cout and failures on std::cerr. Always true.
  bool DebugOn() {
    state_->debug_on();
    return true;
  }

  /// The text of the last failure, empty if there was none. Always true.
  bool GetErrorText(std::string &in) {
    in = state_->error_text();
    return true;
  }

private:
  struct connection {
    std::shared_ptr<wslink::detail::compat_line> line;
    std::map<std::string, wslink::subscription> subscriptions;
  };

  std::shared_ptr<wslink::detail::compat_line> current() {
    std::lock_guard<std::mutex> lock(mutex_);
    return now_.line;
  }
  connection take() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(now_, connection());
  }
  void end(connection &&before, wslink::error &err) {
    std::vector<std::shared_ptr<wslink::detail::compat_line>> over; // destroyed without the lock
    if (before.line) {
      before.subscriptions.clear();
      before.line->session().close(std::chrono::seconds(3), &err);
      before.line->stop();
      if (!before.line->is_here())
        before.line->leave();
    }
    std::lock_guard<std::mutex> lock(mutex_);
    if (before.line && before.line->is_here())
      ended_.push_back(before.line);
    const auto first = std::partition(ended_.begin(), ended_.end(), [](const auto &line) { return !line->is_over(); });
    over.assign(first, ended_.end());
    ended_.erase(first, ended_.end());
    for (const auto &line : over)
      line->leave();
  }
  /// With the lock.
  bool listen(const std::string &topic) {
    wslink::error err;
    wslink::subscription made = now_.line->session().subscribe(
        topic, [state = state_](const wslink::publication &said) { state->handle(said); }, wslink::keep_all(), &err);
    if (err)
      return state_->failed("subscribe", err.message());
    now_.subscriptions[topic] = std::move(made);
    return true;
  }

  const std::string secret_;
  const std::shared_ptr<wslink::detail::compat_state> state_ = std::make_shared<wslink::detail::compat_state>();
  std::mutex mutex_;
  connection now_;
  /// Ended in their own callbacks, which may still run.
  std::vector<std::shared_ptr<wslink::detail::compat_line>> ended_;
};

#endif // WSLINK_COMPAT_WSWEBSOCKETCONNECTION_H
