/// @file
/// Calls of one method that are made faster than the server replies: one is in flight, and only the newest is pending.

#ifndef WSLINK_LATEST_CALL_HPP
#define WSLINK_LATEST_CALL_HPP

#include "session.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {
namespace detail {

/// Receives the outcomes of a latest_call.
class latest_listener {
public:
  virtual ~latest_listener() = default;
  virtual void completed(outcome &&what) = 0;
};
template <class F>
class latest_callback final : public latest_listener {
public:
  template <class G>
  explicit latest_callback(G &&callback) : callback_(std::forward<G>(callback)) {}
  void completed(outcome &&what) override { callback_(std::move(what)); }

private:
  F callback_;
};

/// Shared by a latest_call and the completion of its call in flight. No code of the application runs under the lock,
/// including the release of memory that was passed by reference.
class latest_state : public std::enable_shared_from_this<latest_state> {
public:
  latest_state(std::shared_ptr<session_link> link, std::string_view method, std::shared_ptr<latest_listener> listener)
      : link_(std::move(link)), method_(method), listener_(std::move(listener)) {}

  const std::string &method() const noexcept { return method_; }
  std::uint64_t sent() const { return read(sent_); }
  std::uint64_t replaced() const { return read(replaced_); }
  bool idle() const { return !read(in_flight_); }

  /// Makes the call, or makes it the pending one if a call is in flight. False if it was not accepted.
  bool submit(request &&newest, error &failed) {
    std::optional<request> older;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (in_flight_) {
        if (pending_)
          ++replaced_;
        older = std::exchange(pending_, std::optional<request>(std::move(newest)));
        return true;
      }
      in_flight_ = true;
    }
    if (start(newest, failed))
      return true;
    // Another thread may have submitted a call meanwhile, which was accepted. If it fails, too, it counts as replaced,
    // because the callback must not run inside this function.
    error ignored;
    while ((older = take_pending()) && !start(*older, ignored)) {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++replaced_;
    }
    return false;
  }
  /// Ends the latest_call: the pending call is dropped, and no callback begins any more.
  void end() {
    std::optional<request> older;
    std::shared_ptr<latest_listener> listener;
    std::unique_lock<std::mutex> lock(mutex_);
    older.swap(pending_);
    listener.swap(listener_);
    if (!no_wait_depth)
      returned_.wait(lock, [this] { return running_callbacks_ == 0; });
    lock.unlock();
  }

private:
  template <class T>
  T read(const T &what) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return what;
  }
  /// Makes a call. Another thread may have completed it when this function returns.
  bool start(request &next, error &failed) {
    const session_link::user session(link_);
    if (!link_) {
      failed = error(code::null, "the latest_call of \"" + method_ + "\" was made of an empty session");
      return false;
    }
    if (!session.get()) {
      failed = error(code::closed, "the session of a latest_call of \"" + method_ + "\" has ended; make a new one");
      return false;
    }
    next.session_ = session.get();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++sent_; // before the call, so that it is counted when the callback receives the outcome
    }
    next.then([self = shared_from_this()](outcome &&what) { self->completed(std::move(what)); }, &failed);
    if (!failed)
      return true;
    const std::lock_guard<std::mutex> lock(mutex_);
    --sent_;
    return false;
  }
  /// Called when no call is in flight: takes the pending call, which the caller makes now.
  std::optional<request> take_pending() {
    const std::lock_guard<std::mutex> lock(mutex_);
    in_flight_ = pending_.has_value();
    return std::exchange(pending_, std::nullopt);
  }
  /// The call in flight has completed: makes the pending call, then runs the callback. If the pending call is not
  /// accepted, the call that another thread has submitted meanwhile is made.
  void completed(outcome &&what) {
    std::vector<error> failures;
    error failed;
    std::optional<request> following;
    while ((following = take_pending()) && !start(*following, failed))
      failures.push_back(std::exchange(failed, error()));
    run_callback(std::move(what));
    for (error &each : failures)
      run_callback(outcome(std::move(each)));
  }
  void run_callback(outcome &&what) {
    std::shared_ptr<latest_listener> listener;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!listener_)
        return;
      listener = listener_;
      ++running_callbacks_;
    }
    guarded([&] { listener->completed(std::move(what)); });
    listener.reset(); // before end() continues: after it, no code of the callback may run, including its destructor
    const std::lock_guard<std::mutex> lock(mutex_);
    --running_callbacks_;
    returned_.notify_all();
  }

  const std::shared_ptr<session_link> link_;
  const std::string method_;
  mutable std::mutex mutex_;
  std::condition_variable returned_;
  std::shared_ptr<latest_listener> listener_;
  std::optional<request> pending_;
  std::uint64_t sent_ = 0;
  std::uint64_t replaced_ = 0;
  unsigned running_callbacks_ = 0;
  bool in_flight_ = false;
};

} // namespace detail

/// Calls of one method that are made faster than the server replies, such as mouse moves, sliders, window sizes. One
/// call is in flight, and the newest is pending. When the reply arrives, the pending call is sent. Older pending calls
/// are replaced and counted, never sent.
///
///     wslink::latest_call move(session, "viewport.mouse.interaction");
///     move(wslink::map({"x", x}, {"y", y}));  // in every mouse event
///
/// The callback, if there is one, receives the outcome of each call that was sent, where callbacks run, never inside
/// operator().
/// - **Errors of the server** and timeouts are outcomes like any other; the pending call is sent nevertheless.
/// - **If the connection is lost or closed**, that is the outcome of the call in flight. The pending call cannot be
///   sent, and its outcome is code::state or code::closed. After a reconnect nothing is sent automatically. A call
///   while the session is not ready fails, as session::call() does.
/// - **The destructor** may run anywhere, also in the callback. The pending call is dropped. The server still executes
///   the call in flight. No callback begins afterwards; the destructor waits for one that runs on another thread,
///   unless it runs inside a callback. To wait until all calls have arrived, use `session.dispatch_until([&] { return
///   move.idle(); })`.
/// - **The session** may be moved, and may end earlier: then calls fail with code::closed. It must not be empty: calls
///   fail with code::null, even if a session is assigned to it later.
///
/// Any thread may call; only one thread at a time may move or destroy it.
class latest_call {
public:
  /// Without a session: calls fail with code::null.
  latest_call() noexcept = default;
  /// For a method of a session, without a callback for the outcomes.
  latest_call(const session &of, std::string_view method)
      : state_(std::make_shared<detail::latest_state>(of.link_, method, nullptr)) {}
  /// For a method of a session, with `callback(outcome&&)` for the outcomes.
  template <class F>
  latest_call(const session &of, std::string_view method, F &&callback)
      : state_(std::make_shared<detail::latest_state>(
            of.link_, method, std::make_shared<detail::latest_callback<std::decay_t<F>>>(std::forward<F>(callback)))) {}
  /// As above, but the callback is called only while `object` exists, see wslink::guard.
  template <class Context, class F, class = detail::if_guard<Context>>
  latest_call(const session &of, std::string_view method, Context &&object, F &&callback)
      : latest_call(of, method, detail::only_with(std::forward<Context>(object), std::forward<F>(callback))) {}
  /// Leaves `other` without a method.
  latest_call(latest_call &&other) noexcept = default;
  /// Ends the current latest_call. Leaves `other` without a method.
  latest_call &operator=(latest_call &&other) noexcept {
    latest_call moved(std::move(other));
    state_.swap(moved.state_);
    return *this;
  }
  latest_call(const latest_call &) = delete;
  latest_call &operator=(const latest_call &) = delete;
  ~latest_call() {
    if (state_)
      state_->end();
  }

  /// Makes the call, or replaces the pending call if one is in flight. Arguments and options (timeout, `error*`) as for
  /// session::call(). True if it was accepted.
  bool operator()(WSLINK_ITEMS) const {
    const item *const items[] = {&a1, &a2, &a3, &a4, &a5, &a6, &a7, &a8, &a9, &a10, &a11, &a12};
    return submit(request(nullptr, method(), items), nullptr);
  }
  /// As above, with prepared arguments, which are empty afterwards and can be filled again.
  template <class Args, class = std::enable_if_t<std::is_same_v<Args, args>>>
  bool operator()(Args &&arguments, error *err = nullptr) const {
    const item *const items[] = {&detail::no_item};
    request made(nullptr, method(), items);
    std::swap(made.arguments(), arguments);
    return submit(std::move(made), err);
  }

  /// How many calls were sent.
  std::uint64_t sent() const { return state_ ? state_->sent() : 0; }
  /// How many pending calls were replaced by newer ones.
  std::uint64_t replaced() const { return state_ ? state_->replaced() : 0; }
  /// Whether no call is in flight or pending.
  bool idle() const { return !state_ || state_->idle(); }

private:
  std::string_view method() const noexcept { return state_ ? std::string_view(state_->method()) : std::string_view(); }
  bool submit(request &&made, error *err) const {
    err = err ? err : std::exchange(made.err_, nullptr);
    error failed;
    if (!state_) {
      failed = error(code::null, "a latest_call without session and method was called");
    } else if (made.ready(&failed) && state_->submit(std::move(made), failed)) {
      if (err)
        err->clear();
      return true;
    }
    detail::fail(std::move(failed), err);
    return false;
  }

  std::shared_ptr<detail::latest_state> state_;
};

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_LATEST_CALL_HPP
