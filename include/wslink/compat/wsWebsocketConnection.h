/// @file
/// The class of Kitware's C++ client (part of wslink until 2024), implemented with wslink.hpp. Programs that were
/// written for it only need the path of this header changed, and then work with servers of both protocols. CMake has
/// the component and target `wslink::compat`, which includes nlohmann_json. New programs use wslink.hpp;
/// docs/coming-from-kitware-cpp.md shows the equivalent of every call.

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

/// Programs for that client expect this name.
using json = nlohmann::json;

namespace wslink {
inline namespace WSLINK_CPP_ABI {
namespace detail {

/// Shared by a connection and its callbacks, which may outlive it.
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
  /// Stores the text of a failure. Returns false, for the function that failed.
  bool failed(const char *what, std::string_view why) {
    std::lock_guard<std::mutex> lock(mutex_);
    error_text_ = std::string(what).append(": ").append(why);
    if (debug_)
      std::cerr << error_text_ << std::endl;
    return false;
  }
  /// Prints a received message if debugging is on.
  void received(const value &message) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (debug_)
      std::cout << message.to_json().text() << std::endl;
  }
  /// Sets the handler of a topic and returns the former one.
  handler exchange(const std::string &topic, handler with) {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(handlers_[topic], std::move(with));
  }
  /// Removes and returns the handler of a topic.
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
  /// Passes a publication to the handler of its topic.
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

/// A session, and a thread that runs its callbacks. It is not the I/O thread, so that callbacks may take long and make
/// calls.
class compat_session {
public:
  /// As the constructor of session.
  compat_session(config &options, error *err)
      : flags_(std::make_shared<thread_flags>()),
        session_(options.on_wakeup([s = flags_] { s->set(&thread_flags::events); }, err), err) {}
  compat_session(const compat_session &) = delete;
  compat_session &operator=(const compat_session &) = delete;

  const wslink::session &session() const noexcept { return session_; }
  /// Starts the thread, which shares ownership of `self`.
  static void start(const std::shared_ptr<compat_session> &self) {
    std::lock_guard<std::mutex> lock(self->flags_->mutex);
    self->thread_ = std::thread(run, self);
  }
  /// Ends the thread after its current callback.
  void stop() { flags_->set(&thread_flags::stopped); }
  /// Whether this is called on the thread, in a callback.
  bool is_this_thread() const noexcept { return thread_.get_id() == std::this_thread::get_id(); }
  /// Whether the thread has ended.
  bool has_ended() const { return flags_->is_set(&thread_flags::ended); }
  /// Waits for the end of the thread; on the thread itself detaches it. To be called once, after stop().
  void join_or_detach() { is_this_thread() ? thread_.detach() : thread_.join(); }

private:
  struct thread_flags {
    std::mutex mutex;
    std::condition_variable changed;
    bool events = false;
    bool stopped = false;
    bool ended = false;

    void set(bool thread_flags::*flag) {
      std::lock_guard<std::mutex> lock(mutex);
      this->*flag = true;
      changed.notify_one();
    }
    /// Waits for events; false if the thread was stopped.
    bool wait() {
      std::unique_lock<std::mutex> lock(mutex);
      changed.wait(lock, [this] { return events || stopped; });
      events = false;
      return !stopped;
    }
    bool is_set(bool thread_flags::*flag) {
      std::lock_guard<std::mutex> lock(mutex);
      return this->*flag;
    }
  };

  static void run(const std::shared_ptr<compat_session> &self) {
    error failed;
    while (self->flags_->wait()) {
      // One event at a time, to notice when a callback stops the thread.
      while (!self->flags_->is_set(&thread_flags::stopped) &&
             self->session_.dispatch(std::chrono::milliseconds(0), 1, &failed) > 0) {
      }
    }
    self->flags_->set(&thread_flags::ended);
  }

  std::shared_ptr<thread_flags> flags_;
  wslink::session session_;
  std::thread thread_;
};

/// The message of a server that replied with an error.
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

/// A connection to a wslink server. Functions return true on success; otherwise GetErrorText() says why. Failures are
/// never thrown.
///
/// Any thread may use it. Callbacks may make calls, unsubscribe, close, and destroy the
/// connection. They run one after the other on a thread of the connection. An exception that leaves a callback is
/// passed to the hook of wslink::set_exception_hook(); without a hook the program ends.
class wsWebsocketConnection {
public:
  /// Receives a whole message: `message["id"]`, `message["result"]`. Binary data is `json::binary`.
  using TopicCallBackType = std::function<void(const json &)>;

  /// A connection that is not open yet, and its secret.
  wsWebsocketConnection(std::string secret) : secret_(std::move(secret)) {} // NOLINT: implicit, as in that client
  wsWebsocketConnection(const wsWebsocketConnection &) = delete;
  wsWebsocketConnection &operator=(const wsWebsocketConnection &) = delete;
  /// Closes the connection. No callback runs afterwards, except one that runs this destructor.
  ~wsWebsocketConnection() {
    wslink::error ignored;
    end(take(), ignored);
    for (const auto &session : ended_)
      session->join_or_detach();
  }

  /// Connects to `ws://host:port/target` and waits until the server has accepted the secret. An open connection is
  /// closed before; subscriptions stay.
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
    const auto session = std::make_shared<wslink::detail::compat_session>(options, &err);
    if (err)
      return state_->failed("connect", err.message());
    {
      std::lock_guard<std::mutex> lock(mutex_);
      current_.session = session;
      for (const std::string &topic : state_->topics())
        listen(topic);
      session->start(session);
    }
    if (session->session().connect(&err))
      return true;
    wslink::error ignored;
    end(take(), ignored);
    return state_->failed("connect", err.message());
  }

  /// Calls a method. `args` is an array of positional arguments, `kwargs` an object of keyword arguments.
  ///
  /// With `result` it waits for the reply, which is a whole message: `(*result)["result"]`, or `(*result)["error"]`
  /// with `code`, `message` and `data` if the method failed on the server. Both are success; false means that there was
  /// no reply. Without `result` it does not wait, and success means that the call was accepted.
  bool send(std::string method, json *result, json *args = nullptr, json *kwargs = nullptr) {
    const std::shared_ptr<wslink::detail::compat_session> session = current();
    if (!session)
      return state_->failed("send", "not connected");
    const json none;
    wslink::request request =
        session->session().request(method, wslink::args_from(args ? *args : none, kwargs ? *kwargs : none));
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

  /// Sets the callback for publications on a topic, and replaces an earlier one. In any state. The subscription stays
  /// until unsubscribe(), also for later connections.
  bool subscribe(std::string topic, TopicCallBackType callback) {
    if (!callback)
      return state_->failed("subscribe", "no callback");
    // The former handler is destroyed at the end, without a lock.
    const auto before = state_->exchange(topic, std::make_shared<const TopicCallBackType>(std::move(callback)));
    std::lock_guard<std::mutex> lock(mutex_);
    return current_.subscriptions.count(topic) || !current_.session || listen(topic);
  }

  /// Ends the subscription to a topic, if there is one: its callback is not called any more. Waits for the callback if
  /// it is running on another thread.
  bool unsubscribe(std::string topic) {
    // Both are destroyed at the end, without a lock, because their destructors wait for callbacks.
    const auto before = state_->take(topic);
    std::map<std::string, wslink::subscription>::node_type ended;
    std::lock_guard<std::mutex> lock(mutex_);
    ended = current_.subscriptions.extract(topic);
    return true;
  }

  /// Closes the connection; calls that were made before are still sent. It may be connected again.
  bool close() {
    connection before = take();
    if (!before.session)
      return state_->failed("close", "not connected");
    wslink::error err;
    end(std::move(before), err);
    return !err || state_->failed("close", err.message());
  }

  /// Prints received messages to std::cout and failures to std::cerr from now on. Returns true.
  bool DebugOn() {
    state_->debug_on();
    return true;
  }

  /// Sets `in` to the text of the last failure, empty if there was none. Returns true.
  bool GetErrorText(std::string &in) {
    in = state_->error_text();
    return true;
  }

private:
  struct connection {
    std::shared_ptr<wslink::detail::compat_session> session;
    std::map<std::string, wslink::subscription> subscriptions;
  };

  std::shared_ptr<wslink::detail::compat_session> current() {
    std::lock_guard<std::mutex> lock(mutex_);
    return current_.session;
  }
  connection take() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(current_, connection());
  }
  void end(connection &&before, wslink::error &err) {
    std::vector<std::shared_ptr<wslink::detail::compat_session>> finished; // destroyed without the lock
    if (before.session) {
      before.subscriptions.clear();
      before.session->session().close(std::chrono::seconds(3), &err);
      before.session->stop();
      if (!before.session->is_this_thread())
        before.session->join_or_detach();
    }
    std::lock_guard<std::mutex> lock(mutex_);
    if (before.session && before.session->is_this_thread())
      ended_.push_back(before.session);
    const auto first =
        std::partition(ended_.begin(), ended_.end(), [](const auto &session) { return !session->has_ended(); });
    finished.assign(first, ended_.end());
    ended_.erase(first, ended_.end());
    for (const auto &session : finished)
      session->join_or_detach();
  }
  /// To be called with the lock.
  bool listen(const std::string &topic) {
    wslink::error err;
    wslink::subscription made = current_.session->session().subscribe(
        topic, [state = state_](const wslink::publication &said) { state->handle(said); }, wslink::keep_all(), &err);
    if (err)
      return state_->failed("subscribe", err.message());
    current_.subscriptions[topic] = std::move(made);
    return true;
  }

  const std::string secret_;
  const std::shared_ptr<wslink::detail::compat_state> state_ = std::make_shared<wslink::detail::compat_state>();
  std::mutex mutex_;
  connection current_;
  /// Sessions that were ended in their own callbacks, which may still run.
  std::vector<std::shared_ptr<wslink::detail::compat_session>> ended_;
};

#endif // WSLINK_COMPAT_WSWEBSOCKETCONNECTION_H
