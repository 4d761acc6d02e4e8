/// @file
/// Sessions and subscriptions.

#ifndef WSLINK_SESSION_HPP
#define WSLINK_SESSION_HPP

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "call.hpp"
#include "config.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// A duration that does not end.
inline constexpr std::chrono::milliseconds for_ever = std::chrono::milliseconds::max();

/// What happens to publications that are not dispatched as fast as they come.
struct policy {
  std::int32_t kind = WSLINK_POLICY_ALL; ///< `WSLINK_POLICY_ALL` or `WSLINK_POLICY_LAST`.
  std::uint32_t capacity = 0;            ///< How many may wait; 0: the default.
};
/// Keep every publication; when `most` wait, new ones are dropped and counted.
constexpr policy keep_all(std::uint32_t most = 0) noexcept { return {WSLINK_POLICY_ALL, most}; }
/// Keep the last `count` publications; older ones are dropped and counted. With 1 only the latest, which is right for
/// image streams.
constexpr policy keep_latest(std::uint32_t count = 1) noexcept { return {WSLINK_POLICY_LAST, count}; }

/// How many publications a subscription was given, and how many it dropped.
struct subscription_counts {
  std::uint64_t delivered = 0; ///< Given to the callback.
  std::uint64_t dropped = 0;   ///< Not dispatched in time.
};

/// What a session has done so far; the members are those of the C struct.
using stats = wslink_stats;

namespace detail {

/// The session as those see it that may outlive it. Whoever uses it is counted; the end waits for them, or leaves
/// itself to the last of them where it must not wait.
class session_link {
public:
  explicit session_link(wslink_session *session) noexcept : session_(session) {}

  /// The C session, without being counted: for the owner.
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
    /// NULL if the session is gone.
    wslink_session *get() const noexcept { return session_; }

  private:
    no_wait_scope inside_;
    std::shared_ptr<session_link> link_;
    wslink_session *session_ = nullptr;
  };

  /// Gives the session up: nobody comes to use it any more.
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

  /// Exceptions that the next dispatch() rethrows.
  void keep(thrown_list &&more) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (std::exception_ptr &one : more)
      thrown_.push_back(std::move(one));
  }
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

/// A publication as a callback gets it. Borrowed for the callback: share() keeps the message.
class publication {
public:
  /// Made by subscriptions.
  publication(wslink_str topic, const wslink_document *message, const wslink_error *failure) noexcept
      : topic_(topic), message_(message), failure_(failure) {}
  publication(const publication &) = delete;
  publication &operator=(const publication &) = delete;

  /// The topic; lives as long as the subscription.
  std::string_view topic() const noexcept { return detail::view_of(topic_); }
  /// Whether there is a value; otherwise the server could not send what was published, and failure() says why.
  explicit operator bool() const noexcept { return message_ != nullptr; }
  /// Why there is no value; no error if there is one. A copy.
  error failure() const { return error::copy_of(failure_); }
  /// What was published. Fails with the failure.
  value result(error *err = nullptr) const {
    if (message_) {
      if (err)
        err->clear();
      return value(wslink_document_result(message_));
    }
    detail::fail(failure(), err);
    return value();
  }
  /// What was published as a T, as value::get(). Fails with the failure.
  template <class T>
  T get(error *err = nullptr) const {
    if (message_)
      return value(wslink_document_result(message_)).get<T>(err);
    detail::fail(failure(), err);
    return T{};
  }
  /// The message, to be kept beyond the callback. Empty if there is none.
  document share() const noexcept { return document::share_c(message_); }

private:
  wslink_str topic_;
  const wslink_document *message_;
  const wslink_error *failure_;
};

/// A subscription, which ends with this object. Moved, not copied. May be ended anywhere, also in its own callback
/// (which is then destroyed when it returns), and may outlive its session, with which it ends too.
class subscription {
public:
  /// None.
  subscription() noexcept = default;
  /// Leaves `other` without subscription.
  subscription(subscription &&other) noexcept : link_(std::move(other.link_)), id_(std::exchange(other.id_, 0)) {}
  /// Ends the one that was here. Leaves `other` without subscription.
  subscription &operator=(subscription &&other) noexcept {
    subscription moved(std::move(other));
    std::swap(link_, moved.link_);
    std::swap(id_, moved.id_);
    return *this;
  }
  subscription(const subscription &) = delete;
  subscription &operator=(const subscription &) = delete;
  ~subscription() { reset(); }

  /// Whether there is a subscription, of a session that is still there.
  explicit operator bool() const noexcept { return link_ && link_->get(); }
  /// The id that the C functions take.
  std::uint64_t id() const noexcept { return id_; }
  /// Ends it: no callback begins after this returns, and none is running on another thread.
  void reset() noexcept {
    // Moved out first: the callback may own this object, and takes it along.
    const std::shared_ptr<detail::session_link> link = std::move(link_);
    const std::uint64_t id = std::exchange(id_, 0);
    detail::session_link::user session(link);
    if (session.get())
      wslink_session_unsubscribe(session.get(), id, nullptr);
  }
  /// Lets it live as long as the session.
  void detach() noexcept {
    link_.reset();
    id_ = 0;
  }
  /// What it was given and what it dropped.
  subscription_counts counts(error *err = nullptr) const {
    subscription_counts n;
    detail::session_link::user session(link_);
    detail::outlet out(err);
    out.check(wslink_session_subscription_counts(session.get(), id_, &n.delivered, &n.dropped, out.c()));
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
// Parameters instead of a template, because only those take nested braces: session.call("m", {1, {2, 3}}).
#define WSLINK_ITEMS                                                                                                   \
  const item &a1 = detail::no_item, const item &a2 = detail::no_item, const item &a3 = detail::no_item,                \
             const item &a4 = detail::no_item, const item &a5 = detail::no_item, const item &a6 = detail::no_item,     \
             const item &a7 = detail::no_item, const item &a8 = detail::no_item, const item &a9 = detail::no_item,     \
             const item &a10 = detail::no_item, const item &a11 = detail::no_item, const item &a12 = detail::no_item
/// @endcond

class event_source;

/// A connection to one server, with the thread that serves it. Ends when it is destroyed: calls in flight are completed
/// as code::closed, it waits for callbacks that run on other threads, and no callback runs afterwards. It may be
/// destroyed anywhere, also inside its callbacks. Any thread may use it while it is there.
class session {
public:
  /// A session that is not connected yet. After a failure that was taken by `err` it is empty.
  explicit session(const config &options, error *err = nullptr) {
    detail::outlet out(err);
    wslink_session *made = nullptr;
    if (out.check(wslink_session_new(options.c_ptr(), &made, out.c()))) {
      link_ = std::make_shared<detail::session_link>(made);
    }
  }
  /// Leaves `other` empty. Callbacks and subscriptions stay.
  session(session &&other) noexcept = default;
  /// Ends the one that was here. Leaves `other` empty.
  session &operator=(session &&other) noexcept {
    session moved(std::move(other));
    std::swap(link_, moved.link_);
    return *this;
  }
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
  /// Gives the C session up. Subscriptions made here stay with it, and are no longer ended by their objects. Not in
  /// callbacks.
  wslink_session *release() { return link_ ? std::exchange(link_, nullptr)->release() : nullptr; }
  /// The C session, borrowed.
  wslink_session *c_ptr() const noexcept { return link_ ? link_->get() : nullptr; }
  /// Whether there is a session.
  explicit operator bool() const noexcept { return c_ptr() != nullptr; }

  /// Connects and waits until the session is ready or has failed; with reconnect_policy::at_first, until the attempts
  /// are used up. Not on the I/O thread.
  bool connect(error *err = nullptr) const {
    detail::outlet out(err);
    return out.check(wslink_session_connect_wait(c_ptr(), out.c()));
  }
  /// Begins to connect; config::on_state() tells how it goes. While the session waits to reconnect: at once.
  bool begin_connect(error *err = nullptr) const {
    detail::outlet out(err);
    return out.check(wslink_session_connect(c_ptr(), out.c()));
  }
  /// Closes in agreement with the server and waits for it, `limit` at most. Calls in flight are completed as
  /// code::closed. Not on the I/O thread.
  bool close(std::chrono::milliseconds limit = std::chrono::seconds(3), error *err = nullptr) const {
    detail::outlet out(err);
    return out.check(wslink_session_close_wait(c_ptr(), detail::to_ms(limit), out.c()));
  }
  /// Begins to close; after `limit` the connection ends without the server's agreement.
  bool begin_close(std::chrono::milliseconds limit = std::chrono::seconds(3), error *err = nullptr) const {
    detail::outlet out(err);
    return out.check(wslink_session_close(c_ptr(), detail::to_ms(limit), out.c()));
  }

  /// Where it is now.
  wslink::state state() const noexcept { return static_cast<wslink::state>(wslink_session_state(c_ptr())); }
  /// Why it is closed, if that was not asked for.
  error failure() const {
    wslink_error *why = nullptr;
    wslink_session_failure(c_ptr(), &why);
    return error::from_c(why);
  }
  /// The protocol that was negotiated; protocol::automatic before it is ready.
  wslink::protocol protocol() const noexcept { return static_cast<wslink::protocol>(wslink_session_protocol(c_ptr())); }
  /// The size of the largest chunk that a protocol 2 server announced; 0 if it did not.
  std::uint64_t max_msg_size() const noexcept { return wslink_session_max_msg_size(c_ptr()); }
  /// The name that the server gave this client.
  std::string client_id() const { return text(wslink_session_client_id); }
  /// The address of the server or proxy, such as "127.0.0.1:8080".
  std::string peer_address() const { return text(wslink_session_peer_address); }
  /// What it has done so far.
  wslink::stats stats(error *err = nullptr) const {
    wslink::stats now = WSLINK_STATS_INIT;
    detail::outlet out(err);
    out.check(wslink_session_stats(c_ptr(), &now, out.c()));
    return now;
  }

  /// Calls a method and waits for the reply: `session.call("add", {1, 2, 3}).get<int>()`. Up to 12 arguments
  /// and options (see item): values, kw(), wslink::timeout, `error*`. As request(...).wait().
  document call(std::string_view method, WSLINK_ITEMS) const {
    return request(method, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12).wait();
  }
  /// The same with arguments put together before: `session.call("m", std::move(arguments))`, which leaves them empty,
  /// to be filled again. (A template, because `call("m", {})` is meant to be one empty list.)
  template <class Args, class = std::enable_if_t<std::is_same_v<Args, args>>>
  document call(std::string_view method, Args &&arguments, error *err = nullptr) const {
    return request(method, std::move(arguments)).wait(err);
  }
  /// A call that is not made yet; see wslink::request for the styles in which it can be made.
  wslink::request request(std::string_view method, WSLINK_ITEMS) const {
    const item *const items[] = {&a1, &a2, &a3, &a4, &a5, &a6, &a7, &a8, &a9, &a10, &a11, &a12};
    return wslink::request(c_ptr(), method, items);
  }
  /// The same with arguments put together before: `session.request("m", std::move(arguments))`, which leaves them
  /// empty.
  template <class Args, class = std::enable_if_t<std::is_same_v<Args, args>>>
  wslink::request request(std::string_view method, Args &&arguments) const {
    wslink::request made = request(method);
    std::swap(made.arguments(), arguments);
    return made;
  }
  /// Completes a call as code::cancelled; false if it is over already. The server goes on with it.
  bool cancel(std::uint64_t call) const noexcept { return wslink_session_cancel(c_ptr(), call); }

  /// Subscribes to a topic, in any state: `callback(const publication&)` gets what is published from now on, where
  /// callbacks run, as long as the subscription is kept. Subscriptions outlive connections.
  template <class F>
  [[nodiscard]] subscription subscribe(std::string_view topic, F &&callback, policy keep = keep_all(),
                                       error *err = nullptr) const {
    using target = std::decay_t<F>;
    wslink_subscribe_options options = WSLINK_SUBSCRIBE_OPTIONS_INIT;
    options.policy = keep.kind;
    options.capacity = keep.capacity;
    detail::outlet out(err);
    std::uint64_t id = 0;
    bool made = out.check(wslink_session_subscribe(c_ptr(), detail::view_of(topic), &options, run_publication<target>,
                                                   new target(std::forward<F>(callback)), detail::destroy<target>, &id,
                                                   out.c()));
    return made ? subscription(link_, id) : subscription();
  }

  /// Runs callbacks that wait, at most `most` of them (0: as many as wait), on this thread; waits up to `wait` for the
  /// first one. Returns how many were run; 0 if the session was ended meanwhile, perhaps by one of them. Rethrows what
  /// a callback threw, see set_exception_hook().
  std::size_t dispatch(std::chrono::milliseconds wait = std::chrono::milliseconds(0), std::uint32_t most = 0,
                       error *err = nullptr) const {
    return dispatch(link_, wait, most, err);
  }
  /// Dispatches until `done()` is true, which is looked at between events. False if `limit` passed before, if the
  /// session was ended meanwhile by a callback, or after a failure.
  template <class Done>
  bool dispatch_until(Done done, std::chrono::milliseconds limit = for_ever, error *err = nullptr) const {
    using clock = std::chrono::steady_clock;
    const std::shared_ptr<detail::session_link> link = link_;
    const clock::time_point begun = clock::now();
    error failed;
    while (!done()) {
      std::chrono::milliseconds left = for_ever;
      if (limit != for_ever) {
        left = std::chrono::ceil<std::chrono::milliseconds>(begun + limit - clock::now());
        if (left.count() <= 0)
          return false;
      }
      if (!link || !link->get())
        return false;
      dispatch(link, left, 1, &failed);
      if (failed) {
        detail::fail(std::move(failed), err);
        return false;
      }
    }
    return true;
  }
  /// Dispatches until a future is ready, on the thread that would otherwise wait for itself.
  template <class T>
  bool dispatch_until(const std::future<T> &ready, std::chrono::milliseconds limit = for_ever,
                      error *err = nullptr) const {
    return dispatch_until([&] { return ready.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }, limit,
                          err);
  }
  /// A descriptor that is readable as long as dispatch() has something to do, for poll() and event loops. Belongs to
  /// the session: do not read from it and do not close it. -1 after a failure.
  int descriptor(error *err = nullptr) const {
    detail::outlet out(err);
    int fd = wslink_session_descriptor(c_ptr(), out.c());
    out.check(fd);
    return fd;
  }

private:
  friend class event_source;
  session() noexcept = default;

  template <class F>
  static void run_publication(void *user, wslink_str topic, const wslink_document *message,
                              const wslink_error *failure) noexcept {
    detail::guarded([&] { (*static_cast<F *>(user))(publication(topic, message, failure)); });
  }

  std::string text(std::size_t (*ask)(const wslink_session *, char *, std::size_t)) const {
    std::string out(ask(c_ptr(), nullptr, 0), '\0');
    // It may have changed in between: what was copied counts.
    out.resize(std::min(out.size(), ask(c_ptr(), out.data(), out.size() + 1)));
    return out;
  }

  /// Not with `this`, which a callback may end.
  static std::size_t dispatch(std::shared_ptr<detail::session_link> link, std::chrono::milliseconds wait,
                              std::uint32_t most, error *err) {
    detail::outlet out(err);
    constexpr std::int32_t longest = std::numeric_limits<std::int32_t>::max();
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
      count = out.forgive();
    return out.check(count) ? static_cast<std::size_t>(count) : 0;
  }

  std::shared_ptr<detail::session_link> link_;
};

#undef WSLINK_ITEMS

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_SESSION_HPP
