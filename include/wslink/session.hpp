/// @file
/// Sessions and subscriptions.

#ifndef WSLINK_SESSION_HPP
#define WSLINK_SESSION_HPP

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <mutex>

#include "call.hpp"
#include "config.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// An unlimited duration.
inline constexpr std::chrono::milliseconds for_ever = (std::chrono::milliseconds::max)();

/// The overflow policy of a subscription: what is dropped if publications arrive faster than they are dispatched.
struct policy {
  std::int32_t kind = WSLINK_POLICY_ALL; ///< `WSLINK_POLICY_ALL` or `WSLINK_POLICY_LAST`.
  std::uint32_t capacity = 0;            ///< How many publications the queue may hold; 0: the default.
};
/// Overflow policy: when `most` publications are in the queue, new ones are dropped and counted.
constexpr policy keep_all(std::uint32_t most = 0) noexcept { return {WSLINK_POLICY_ALL, most}; }
/// Overflow policy: when `count` publications are in the queue, the oldest is dropped for a new one, and counted. With
/// 1 only the latest is kept, as image streams need it.
constexpr policy keep_latest(std::uint32_t count = 1) noexcept { return {WSLINK_POLICY_LAST, count}; }

/// The counters of a subscription.
struct subscription_counts {
  std::uint64_t delivered = 0; ///< Publications that were passed to the callback.
  std::uint64_t dropped = 0;   ///< Publications that were dropped because the queue was full.
};

/// The counters of a session; the members are those of the C struct.
using stats = wslink_stats;

namespace detail {

/// Shared by a session and the objects that may outlive it. Counts the functions that use the C session. Ending the
/// session waits for them; where it must not wait, the last of them frees the C session.
class session_link {
public:
  explicit session_link(wslink_session *session) noexcept : session_(session) {}

  /// The C session, without counting: for the owner.
  wslink_session *get() const noexcept { return session_.load(); }

  class user {
  public:
    explicit user(const std::shared_ptr<session_link> &link) : link_(link) {
      if (!link_)
        return;
      std::lock_guard<std::mutex> lock(link_->mutex_);
      session_ = link_->session_.load();
      if (session_)
        ++link_->users_;
    }
    user(const user &) = delete;
    user &operator=(const user &) = delete;
    ~user() {
      if (!session_)
        return;
      wslink_session *to_free = nullptr;
      {
        std::lock_guard<std::mutex> lock(link_->mutex_);
        if (--link_->users_ == 0) {
          to_free = std::exchange(link_->orphan_, nullptr);
          link_->unused_.notify_all();
        }
      }
      wslink_session_free(to_free);
    }
    /// NULL if the session has ended.
    wslink_session *get() const noexcept { return session_; }

  private:
    no_wait_scope inside_;
    std::shared_ptr<session_link> link_;
    wslink_session *session_ = nullptr;
  };

  /// Detaches the C session and returns it when it is not used any more. NULL if its last user will free it.
  wslink_session *release() {
    std::unique_lock<std::mutex> lock(mutex_);
    wslink_session *session = session_.exchange(nullptr);
    if (users_ && no_wait_depth) {
      orphan_ = session;
      return nullptr;
    }
    unused_.wait(lock, [this] { return users_ == 0; });
    return session;
  }

  /// Stores exceptions that the next calls of dispatch() rethrow.
  void keep(thrown_list &&more) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (std::exception_ptr &one : more)
      thrown_.push_back(std::move(one));
  }
  /// Takes one of these exceptions; null if there is none.
  std::exception_ptr next() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (thrown_.empty())
      return nullptr;
    std::exception_ptr first = std::move(thrown_.front());
    thrown_.pop_front();
    return first;
  }

private:
  std::mutex mutex_;
  std::condition_variable unused_;
  std::atomic<wslink_session *> session_;
  wslink_session *orphan_ = nullptr;
  unsigned users_ = 0;
  thrown_list thrown_;
};

} // namespace detail

/// A publication, as it is passed to a callback. Borrowed for the callback: share() keeps the message.
class publication {
public:
  /// Used by subscriptions.
  publication(wslink_str topic, const wslink_document *message, const wslink_error *failure) noexcept
      : topic_(topic), message_(message), failure_(failure) {}
  publication(const publication &) = delete;
  publication &operator=(const publication &) = delete;

  /// The topic; valid as long as the subscription.
  std::string_view topic() const noexcept { return detail::view_of(topic_); }
  /// Whether there is a value. If not, the server could not serialise it, or the library cannot decode the message;
  /// failure() says why.
  explicit operator bool() const noexcept { return message_ != nullptr; }
  /// Why there is no value; no error if there is one. A copy.
  error failure() const { return error::copy_of(failure_); }
  /// The published value. Fails with failure() if there is none.
  value result(error *err = nullptr) const {
    if (message_) {
      if (err)
        err->clear();
      return value(wslink_document_result(message_));
    }
    detail::fail(failure(), err);
    return value();
  }
  /// The published value as a T, as by value::get(). Fails with failure() if there is none.
  template <class T>
  T get(error *err = nullptr) const {
    if (message_)
      return value(wslink_document_result(message_)).get<T>(err);
    detail::fail(failure(), err);
    return T{};
  }
  /// The message, to be kept after the callback. Empty if there is none.
  document share() const noexcept { return document::share_c(message_); }

private:
  wslink_str topic_;
  const wslink_document *message_;
  const wslink_error *failure_;
};

/// A subscription, which ends when this object is destroyed. Can be moved, not copied. May be ended anywhere, also in
/// its own callback, which is then destroyed when it returns. It also ends with its session, which this object may
/// outlive.
class [[nodiscard]] subscription {
public:
  /// No subscription.
  subscription() noexcept = default;
  /// Leaves `other` without subscription.
  subscription(subscription &&other) noexcept : link_(std::move(other.link_)), id_(std::exchange(other.id_, 0)) {}
  /// Ends the current subscription. Leaves `other` without subscription.
  subscription &operator=(subscription &&other) noexcept {
    subscription moved(std::move(other));
    std::swap(link_, moved.link_);
    std::swap(id_, moved.id_);
    return *this;
  }
  subscription(const subscription &) = delete;
  subscription &operator=(const subscription &) = delete;
  ~subscription() { reset(); }

  /// Whether there is a subscription whose session has not ended.
  explicit operator bool() const noexcept { return link_ && link_->get(); }
  /// The id for the C functions.
  std::uint64_t id() const noexcept { return id_; }
  /// Ends the subscription. After this function has returned, no callback begins, and none is running on another
  /// thread.
  void reset() noexcept {
    // Moved out first: the callback may own this object and destroy it.
    const std::shared_ptr<detail::session_link> link = std::move(link_);
    const std::uint64_t id = std::exchange(id_, 0);
    detail::session_link::user session(link);
    if (session.get())
      wslink_session_unsubscribe(session.get(), id, nullptr);
  }
  /// Gives up the subscription without ending it: it ends with the session.
  void detach() noexcept {
    link_.reset();
    id_ = 0;
  }
  /// The counters.
  subscription_counts counts(error *err = nullptr) const {
    subscription_counts n;
    detail::session_link::user session(link_);
    detail::outlet out(err);
    out.succeeded(wslink_session_subscription_counts(session.get(), id_, &n.delivered, &n.dropped, out.c()));
    return n;
  }

private:
  friend class session;
  subscription(std::shared_ptr<detail::session_link> link, std::uint64_t id) noexcept
      : link_(std::move(link)), id_(id) {}

  std::shared_ptr<detail::session_link> link_;
  std::uint64_t id_ = 0;
};

/// @cond
// Parameters instead of a template, because a template cannot deduce nested braces: session.call("m", {1, {2, 3}}).
#define WSLINK_ITEMS                                                                                                   \
  const item &a1 = detail::no_item, const item &a2 = detail::no_item, const item &a3 = detail::no_item,                \
             const item &a4 = detail::no_item, const item &a5 = detail::no_item, const item &a6 = detail::no_item,     \
             const item &a7 = detail::no_item, const item &a8 = detail::no_item, const item &a9 = detail::no_item,     \
             const item &a10 = detail::no_item, const item &a11 = detail::no_item, const item &a12 = detail::no_item
/// @endcond

class event_source;
class latest_call;

/// A connection to one server, and its I/O thread. The destructor ends the session: calls in flight complete with
/// code::closed, it waits for callbacks on other threads, and no callback runs afterwards. A session may be destroyed
/// anywhere, also inside its callbacks. Any thread may use it until then; a function that waits on another thread
/// returns.
///
/// An **empty** session (default-constructed, moved from, released, or left by a failure) has no connection and no
/// thread. Its functions fail with code::null, or return state::closed, an empty text, or 0.
class session {
public:
  /// An empty session.
  session() noexcept = default;
  /// A session with the default options, not connected yet, for a server at a URL: `ws://host:port/ws`, or `wss://`
  /// for TLS. Empty after a failure that `err` received.
  explicit session(std::string_view url, error *err = nullptr) {
    error failed;
    const config options(url, &failed);
    if (!failed)
      *this = session(options, &failed);
    if (failed)
      detail::fail(std::move(failed), err);
    else if (err)
      err->clear();
  }
  /// A session with these options, not connected yet. Empty after a failure that `err` received.
  explicit session(const config &options, error *err = nullptr) {
    detail::outlet out(err);
    wslink_session *made = nullptr;
    if (out.succeeded(wslink_session_new(options.c_ptr(), &made, out.c()))) {
      link_ = std::make_shared<detail::session_link>(made);
    }
  }
  /// Leaves `other` empty. Callbacks and subscriptions stay valid.
  session(session &&other) noexcept = default;
  /// Ends the current session. Leaves `other` empty.
  session &operator=(session &&other) noexcept {
    session moved(std::move(other));
    std::swap(link_, moved.link_);
    return *this;
  }
  explicit session(std::nullptr_t, error * = nullptr) = delete; // a URL that is a null pointer
  session(const session &) = delete;
  session &operator=(const session &) = delete;
  ~session() {
    if (link_)
      wslink_session_free(link_->release());
  }

  /// Takes ownership of a C session.
  static session from_c(wslink_session *handle) {
    session taken;
    if (handle)
      taken.link_ = std::make_shared<detail::session_link>(handle);
    return taken;
  }
  /// Passes ownership of the C session to the caller. Its subscriptions stay, and their objects do not end them any
  /// more. Not for callbacks: while a function of a subscription or latest_call of the session runs, it returns nullptr
  /// there, and the session ends.
  wslink_session *release() { return link_ ? std::exchange(link_, nullptr)->release() : nullptr; }
  /// The C session, borrowed.
  wslink_session *c_ptr() const noexcept { return link_ ? link_->get() : nullptr; }
  /// Whether there is a session.
  explicit operator bool() const noexcept { return c_ptr() != nullptr; }

  /// Connects and waits until the session is ready or has failed; with reconnect_policy::at_first, until the last
  /// attempt has failed. Not on the I/O thread.
  bool connect(error *err = nullptr) const {
    detail::outlet out(err);
    return out.succeeded(wslink_session_connect_wait(c_ptr(), out.c()));
  }
  /// Begins to connect; config::on_state() reports the progress. If the session waits to reconnect, the next attempt
  /// begins at once.
  bool begin_connect(error *err = nullptr) const {
    detail::outlet out(err);
    return out.succeeded(wslink_session_connect(c_ptr(), out.c()));
  }
  /// Closes the connection and waits for the closing handshake, at most `limit`. Calls in flight complete with
  /// code::closed. Also true if the server has not answered within `limit`: the session is then closed without the
  /// answer. False after a failure that `err` received. Not on the I/O thread.
  bool close(std::chrono::milliseconds limit = std::chrono::seconds(3), error *err = nullptr) const {
    detail::outlet out(err);
    return out.succeeded(wslink_session_close_wait(c_ptr(), detail::to_ms(limit), out.c()));
  }
  /// Begins to close; after `limit` the connection ends without an answer of the server.
  bool begin_close(std::chrono::milliseconds limit = std::chrono::seconds(3), error *err = nullptr) const {
    detail::outlet out(err);
    return out.succeeded(wslink_session_close(c_ptr(), detail::to_ms(limit), out.c()));
  }

  /// The current state.
  wslink::state state() const noexcept { return static_cast<wslink::state>(wslink_session_state(c_ptr())); }
  /// Why the session is closed, or, until it is ready again, why it reconnects. Otherwise, also if the application has
  /// closed it, no error.
  error failure() const {
    wslink_error *why = nullptr;
    wslink_session_failure(c_ptr(), &why);
    return error::from_c(why);
  }
  /// The detected protocol; protocol::automatic before the session was ready for the first time. When a connection
  /// ends, this and client_id() stay until the next one is ready.
  wslink::protocol protocol() const noexcept { return static_cast<wslink::protocol>(wslink_session_protocol(c_ptr())); }
  /// The largest chunk size that a protocol 2 server announced, in bytes; 0 if it announced none.
  std::uint64_t max_msg_size() const noexcept { return wslink_session_max_msg_size(c_ptr()); }
  /// The client id that the server has assigned.
  std::string client_id() const { return text(wslink_session_client_id); }
  /// The address of the server or proxy, such as "127.0.0.1:8080": that of the last connection, also after its end.
  std::string peer_address() const { return text(wslink_session_peer_address); }
  /// The counters of the session.
  wslink::stats stats(error *err = nullptr) const {
    wslink::stats now = WSLINK_STATS_INIT;
    detail::outlet out(err);
    out.succeeded(wslink_session_stats(c_ptr(), &now, out.c()));
    return now;
  }

  /// Calls a method and waits for the reply: `session.call("add", {1, 2, 3}).get<int>()`. Takes up to 12 arguments
  /// and options (see item): values, kw(), wslink::timeout, `error*`. Equal to request(...).wait().
  document call(std::string_view method, WSLINK_ITEMS) const {
    return request(method, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12).wait();
  }
  /// Calls a method with prepared arguments, and waits for the reply: `session.call("m", std::move(arguments))`. The
  /// arguments are empty afterwards and can be filled again. (A template, so that `call("m", {})` passes one empty
  /// list.)
  template <class Args, class = std::enable_if_t<std::is_same_v<Args, args>>>
  document call(std::string_view method, Args &&arguments, error *err = nullptr) const {
    return request(method, std::move(arguments)).wait(err);
  }
  /// Prepares a call without making it; see wslink::request.
  wslink::request request(std::string_view method, WSLINK_ITEMS) const {
    const item *const items[] = {&a1, &a2, &a3, &a4, &a5, &a6, &a7, &a8, &a9, &a10, &a11, &a12};
    return wslink::request(c_ptr(), method, items);
  }
  /// Prepares a call with prepared arguments, which are empty afterwards: `session.request("m", std::move(arguments))`.
  template <class Args, class = std::enable_if_t<std::is_same_v<Args, args>>>
  wslink::request request(std::string_view method, Args &&arguments) const {
    wslink::request made = request(method);
    std::swap(made.arguments(), arguments);
    return made;
  }
  /// Cancels a call: it completes with code::cancelled. False if it has already ended. If its message is still in the
  /// send queue, it is removed, and data that was added by reference is released, perhaps inside this function. The
  /// server still executes a call that it has received.
  bool cancel(std::uint64_t call) const noexcept { return wslink_session_cancel(c_ptr(), call); }

  /// Subscribes to a topic, in any state: `callback(const publication&)` receives all further publications, where
  /// callbacks run, until the subscription ends. A subscription outlives the connection.
  template <class F>
  [[nodiscard]] subscription subscribe(std::string_view topic, F &&callback, policy keep = keep_all(),
                                       error *err = nullptr) const {
    using target = std::decay_t<F>;
    wslink_subscribe_options options = WSLINK_SUBSCRIBE_OPTIONS_INIT;
    options.policy = keep.kind;
    options.capacity = keep.capacity;
    detail::outlet out(err);
    std::uint64_t id = 0;
    bool made = out.succeeded(wslink_session_subscribe(c_ptr(), detail::view_of(topic), &options,
                                                       run_publication<target>, new target(std::forward<F>(callback)),
                                                       detail::destroy<target>, &id, out.c()));
    return made ? subscription(link_, id) : subscription();
  }
  /// Subscribes with a callback that is called only while `object` exists: `subscribe("image", this, ...)` in a QObject
  /// with the Qt adapter, or a std::weak_ptr. The subscription itself does not end with the object. See wslink::guard.
  template <class Context, class F, class = detail::if_guard<Context>>
  [[nodiscard]] subscription subscribe(std::string_view topic, Context &&object, F &&callback, policy keep = keep_all(),
                                       error *err = nullptr) const {
    return subscribe(topic, detail::only_with(std::forward<Context>(object), std::forward<F>(callback)), keep, err);
  }

  /// Runs the callbacks of queued events on this thread, at most `most` (0: all that are in the queue). If the queue is
  /// empty, waits up to `wait` for the first event. Returns the number of events, including changes of state for which
  /// no callback is set; 0 if the session ended meanwhile, perhaps by one of the callbacks. Rethrows exceptions of
  /// callbacks, see set_exception_hook().
  std::size_t dispatch(std::chrono::milliseconds wait = std::chrono::milliseconds(0), std::uint32_t most = 0,
                       error *err = nullptr) const {
    return dispatch(link_, wait, most, err);
  }
  /// Dispatches until `done()` returns true, which is called before each event. Returns false if `limit` passes before,
  /// if a callback ends the session, or after a failure.
  template <class Done>
  bool dispatch_until(Done done, std::chrono::milliseconds limit = for_ever, error *err = nullptr) const {
    using clock = std::chrono::steady_clock;
    const std::shared_ptr<detail::session_link> link = link_;
    const clock::time_point begun = clock::now();
    error failed;
    while (!done()) {
      if (!link) { // an empty session: dispatch() reports the error
        dispatch(link, std::chrono::milliseconds(0), 1, err);
        return false;
      }
      std::chrono::milliseconds remaining = for_ever;
      if (limit != for_ever) {
        remaining = std::chrono::ceil<std::chrono::milliseconds>(begun + limit - clock::now());
        if (remaining.count() <= 0)
          return false;
      }
      if (!link->get())
        return false;
      dispatch(link, remaining, 1, &failed);
      if (failed) {
        detail::fail(std::move(failed), err);
        return false;
      }
    }
    return true;
  }
  /// Dispatches until a future is ready. Waiting for the future on the dispatching thread would never end.
  template <class T>
  bool dispatch_until(const std::future<T> &ready, std::chrono::milliseconds limit = for_ever,
                      error *err = nullptr) const {
    return dispatch_until([&] { return ready.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }, limit,
                          err);
  }
  /// A file descriptor that is readable while the queue of dispatch() is not empty, for poll() and event loops. It
  /// belongs to the session: do not read from it and do not close it. -1 after a failure.
  int descriptor(error *err = nullptr) const {
    detail::outlet out(err);
    int fd = wslink_session_descriptor(c_ptr(), out.c());
    out.succeeded(fd);
    return fd;
  }

private:
  friend class event_source;
  friend class latest_call;

  template <class F>
  static void run_publication(void *user, wslink_str topic, const wslink_document *message,
                              const wslink_error *failure) noexcept {
    detail::guarded([&] { (*static_cast<F *>(user))(publication(topic, message, failure)); });
  }

  std::string text(std::size_t (*ask)(const wslink_session *, char *, std::size_t)) const {
    std::string out(ask(c_ptr(), nullptr, 0), '\0');
    // The text may have changed in between, so the second length counts, too.
    out.resize((std::min)(out.size(), ask(c_ptr(), out.data(), out.size() + 1)));
    return out;
  }

  /// Static, because a callback may destroy the session object.
  static std::size_t dispatch(std::shared_ptr<detail::session_link> link, std::chrono::milliseconds wait,
                              std::uint32_t most, error *err) {
    detail::outlet out(err);
    constexpr std::int32_t longest = (std::numeric_limits<std::int32_t>::max)();
    std::int32_t ms = wait == for_ever ? -1 : 0;
    if (ms == 0 && wait.count() > 0)
      ms = wait.count() < longest ? static_cast<std::int32_t>(wait.count()) : longest;
#if WSLINK_CPP_EXCEPTIONS
    if (std::exception_ptr before = link ? link->next() : nullptr)
      std::rethrow_exception(std::move(before));
#endif
    detail::thrown_list thrown;
    detail::thrown_list *outer = std::exchange(detail::thrown_here, &thrown);
    std::int32_t count = wslink_session_dispatch(link ? link->get() : nullptr, most, ms, out.c());
    detail::thrown_here = outer;
#if WSLINK_CPP_EXCEPTIONS
    if (!thrown.empty()) {
      std::exception_ptr first = std::move(thrown.front());
      thrown.pop_front();
      link->keep(std::move(thrown));
      std::rethrow_exception(std::move(first));
    }
#endif
    if (count == WSLINK_ERR_CLOSED && link && !link->get())
      count = out.ignore();
    return out.succeeded(count) ? static_cast<std::size_t>(count) : 0;
  }

  std::shared_ptr<detail::session_link> link_;
};

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_SESSION_HPP
