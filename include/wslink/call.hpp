/// @file
/// Calls in four styles: waiting, with a callback, as a future, as an awaitable.

#ifndef WSLINK_CALL_HPP
#define WSLINK_CALL_HPP

#include <cstring>
#include <future>
#include <new>

#include "args.hpp"

#if defined(__has_include) && __cplusplus >= 202002L
#if __has_include(<stop_token>)
#include <stop_token>
#endif
#if __has_include(<coroutine>) && defined(__cpp_impl_coroutine)
#include <coroutine>
#endif
#endif

/// 1 if calls can be cancelled by a std::stop_token.
#if defined(__cpp_lib_jthread)
#define WSLINK_CPP_STOP_TOKEN 1
#else
#define WSLINK_CPP_STOP_TOKEN 0
#endif
/// 1 if calls can be awaited in coroutines.
#if defined(__cpp_impl_coroutine) && defined(__cpp_lib_coroutine)
#define WSLINK_CPP_COROUTINES 1
#else
#define WSLINK_CPP_COROUTINES 0
#endif

namespace wslink {
inline namespace WSLINK_CPP_ABI {

class outcome;

namespace detail {
class latest_state;
inline outcome outcome_of(const wslink_document *reply, const wslink_error *failure);
} // namespace detail

/// The outcome of a call: a reply, or the failure.
class outcome {
public:
  /// An empty outcome, as after take().
  outcome() noexcept = default;
  /// A reply.
  explicit outcome(document &&reply) noexcept : reply_(std::move(reply)) {}
  /// A failure.
  explicit outcome(error &&why) noexcept : failure_(std::move(why)) {}
  /// Leaves `other` empty.
  outcome(outcome &&other) noexcept : reply_(other.own()), failure_(std::move(other.failure_)) {}
  /// Leaves `other` empty.
  outcome &operator=(outcome &&other) noexcept {
    document reply = other.own();
    end_borrow();
    reply_ = std::move(reply);
    failure_ = std::move(other.failure_);
    return *this;
  }
  ~outcome() { end_borrow(); }

  /// Whether there is a reply.
  explicit operator bool() const noexcept { return static_cast<bool>(reply_); }
  /// The failure; no error if there is a reply.
  const error &failure() const noexcept { return failure_; }
  /// The value of the reply, valid as long as this object. Fails with failure() if there is no reply.
  value result(error *err = nullptr) const & {
    has_reply(err);
    return reply_.result();
  }
  /// The value of the reply as a T, as by value::get(). Fails with failure() if there is no reply.
  template <class T>
  T get(error *err = nullptr) const & {
    return has_reply(err) ? reply_.result().get<T>(err) : T{};
  }
  /// As above. Not for views, because the reply is destroyed at the end of the expression.
  template <class T>
  T get(error *err = nullptr) && {
    static_assert(!detail::is_borrowed<T>::value, "keep the outcome in a variable, and the view will be valid");
    return has_reply(err) ? reply_.result().get<T>(err) : T{};
  }
  /// Takes the reply. Fails with failure() if there is no reply.
  document take(error *err = nullptr) {
    has_reply(err);
    return own();
  }

private:
  friend outcome detail::outcome_of(const wslink_document *reply, const wslink_error *failure);

  /// For a callback: the reply is borrowed. A reference is added only when it is taken or moved, because most callbacks
  /// only read it.
  explicit outcome(const wslink_document *borrowed) noexcept : reply_(document::from_c(borrowed)), borrowed_(true) {}
  document own() noexcept {
    return std::exchange(borrowed_, false) ? document::share_c(reply_.release()) : std::move(reply_);
  }
  void end_borrow() noexcept {
    if (std::exchange(borrowed_, false))
      reply_.release();
  }
  /// Reports the failure if there is no reply.
  bool has_reply(error *err) const {
    if (reply_) {
      if (err)
        err->clear();
      return true;
    }
    detail::fail(failure_ ? failure_.clone() : error(code::null, "the reply was taken already"), err);
    return false;
  }

  document reply_;
  error failure_;
  bool borrowed_ = false;
};

namespace detail {

inline outcome outcome_of(const wslink_document *reply, const wslink_error *failure) {
  return reply ? outcome(reply) : outcome(error::copy_of(failure));
}

/// The completion of a call with a callable.
template <class F>
void complete(void *user, const wslink_document *reply, const wslink_error *failure) noexcept {
  guarded([&] { (*static_cast<F *>(user))(outcome_of(reply, failure)); });
}

/// Whether a callable, such as `[this]`, fits into the user pointer of C, and so needs no allocation.
template <class F>
inline constexpr bool
    fits_pointer = sizeof(F) == sizeof(void *) && alignof(F) <= alignof(void *) &&
                   std::conjunction_v<std::is_trivially_copyable<F>, std::has_unique_object_representations<F>>;

/// The completion of a call with a callable in the user pointer. It is called once, so it may be a copy.
template <class F>
void complete_inside(void *user, const wslink_document *reply, const wslink_error *failure) noexcept {
  alignas(F) unsigned char copy[sizeof(F)];
  std::memcpy(copy, &user, sizeof(F));
  complete<F>(std::launder(reinterpret_cast<F *>(copy)), reply, failure);
}

/// Fulfils a promise of a document (failures become exceptions) or of an outcome.
template <class T>
struct fulfil {
  std::promise<T> promise;
  void operator()(outcome &&what) {
    if constexpr (std::is_same_v<T, outcome>) {
      promise.set_value(std::move(what));
    } else if (what) {
      promise.set_value(what.take());
    } else {
      promise.set_exception(std::make_exception_ptr(exception(what.failure().clone())));
    }
  }
};

#if WSLINK_CPP_STOP_TOKEN
/// A callable with the std::stop_callback that cancels its call. Has two owners: the completion and request::then().
template <class F>
class stoppable {
public:
  explicit stoppable(F &&f) : f_(std::move(f)) {}

  static void complete(void *user, const wslink_document *reply, const wslink_error *failure) noexcept {
    auto *self = static_cast<stoppable *>(user);
    // After this, watch() does not use the stop callback any more. reset() waits for a stop callback that is running.
    if (self->phase_.exchange(phase::done) == phase::armed)
      self->on_stop_.reset();
    guarded([&] { self->f_(outcome_of(reply, failure)); });
  }
  static void unref(void *user) noexcept {
    auto *self = static_cast<stoppable *>(user);
    if (self->owners_.fetch_sub(1) == 1)
      destroy<stoppable>(self);
  }
  /// Called once, after the call was accepted.
  void watch(wslink_session *session, std::uint64_t call, std::stop_token &&token) {
    session_ = session;
    call_ = call;
    if (phase_.load() != phase::fresh)
      return;
    on_stop_.emplace(std::move(token), cancel{this});
    phase fresh = phase::fresh;
    // If the call has completed meanwhile, the completion has not reset the stop callback.
    if (!phase_.compare_exchange_strong(fresh, phase::armed))
      on_stop_.reset();
  }

private:
  enum class phase { fresh, armed, done };
  struct cancel {
    stoppable *self;
    void operator()() const noexcept { wslink_session_cancel(self->session_, self->call_); }
  };

  F f_;
  std::atomic<int> owners_{2};
  std::atomic<phase> phase_{phase::fresh};
  wslink_session *session_ = nullptr;
  std::uint64_t call_ = 0;
  std::optional<std::stop_callback<cancel>> on_stop_;
};
#endif

} // namespace detail

class awaiter;
class latest_call;

/// A call that was prepared and not made: method, arguments, timeout. Returned by session::request(). One of these
/// functions makes the call:
/// - wait(): waits, and returns the reply;
/// - then(): a callable receives the outcome;
/// - future(): a std::future receives the reply;
/// - send(): the reply is ignored;
/// - `co_await`: a coroutine receives the reply (C++20).
///
/// The session must exist then. The call takes the arguments; a request can be kept, filled again by arguments(), and
/// used for another call. A call that was accepted has exactly one outcome: the reply, the error of the server, or
/// another failure (timeout, cancelled, connection lost, closed).
class [[nodiscard]] request {
public:
  /// Leaves `other` without arguments.
  request(request &&other) noexcept = default;
  /// Leaves `other` without arguments.
  request &operator=(request &&other) noexcept = default;

  /// Sets the timeout. Default: config::call_timeout. With no_timeout the call waits until the connection ends.
  template <class Rep, class Period>
  request &timeout(std::chrono::duration<Rep, Period> after) &noexcept {
    timeout_ms_ = detail::to_ms(after);
    return *this;
  }
  /// As above.
  template <class Rep, class Period>
  [[nodiscard]] request &&timeout(std::chrono::duration<Rep, Period> after) &&noexcept {
    return std::move(timeout(after));
  }
  /// Further arguments.
  args &arguments() noexcept { return args_; }

  /// Makes the call and waits for the reply. Not on the I/O thread (code::reentrant). Events are not
  /// dispatched meanwhile.
  document wait(error *err = nullptr) {
    err = err ? err : err_;
    if (!ready(err))
      return document();
    detail::outlet out(err);
    const wslink_document *reply = nullptr;
    const wslink_call_options options = call_options();
    out.succeeded(
        wslink_session_call_wait(session_, detail::view_of(method_), args_.c_ptr(), &options, &reply, out.c()));
    return document::from_c(reply);
  }

  /// Makes the call. `callback(outcome&&)` receives the outcome, where callbacks run, never inside this function.
  /// Returns the id for session::cancel(). Returns 0 after a failure; then the callback is never called.
  template <class F>
  std::uint64_t then(F &&callback, error *err = nullptr) {
    using target = std::decay_t<F>;
    err = err ? err : err_;
    if (!ready(err))
      return 0;
    if constexpr (detail::fits_pointer<target>) {
      const target made(std::forward<F>(callback));
      void *user = nullptr;
      std::memcpy(&user, &made, sizeof(user));
      return start(detail::complete_inside<target>, user, nullptr, err);
    } else {
      return start(detail::complete<target>, new target(std::forward<F>(callback)), detail::destroy<target>, err);
    }
  }

  /// As above, but the callback is called only if `object` still exists: `then(this, [this](auto &&) { ... })` in
  /// a QObject with the Qt adapter, or a std::weak_ptr. See wslink::guard.
  template <class Context, class F, class = detail::if_guard<Context>>
  std::uint64_t then(Context &&object, F &&callback, error *err = nullptr) {
    return then(detail::only_with(std::forward<Context>(object), std::forward<F>(callback)), err);
  }

  /// Makes the call and ignores the outcome. Returns as then(). With delivery::queued the reply is in the queue until
  /// dispatch() runs, like any other reply: a program that never dispatches accumulates them.
  std::uint64_t send(error *err = nullptr) {
    return then([](outcome &&) {}, err);
  }
  /// Makes the call and ignores the reply. `on_error(const error&)` receives a failure, where callbacks run,
  /// never inside this function. Returns as then().
  template <class F, class = std::enable_if_t<std::is_invocable_v<std::decay_t<F> &, const error &>>>
  std::uint64_t send(F &&on_error, error *err = nullptr) {
    return then(
        [f = std::decay_t<F>(std::forward<F>(on_error))](outcome &&what) mutable {
          if (!what)
            f(what.failure());
        },
        err);
  }

  /// As above, but the callback is called only if `object` still exists, see wslink::guard.
  template <class Context, class F, class = detail::if_guard<Context>>
  std::uint64_t send(Context &&object, F &&on_error, error *err = nullptr) {
    return send(detail::only_with(std::forward<Context>(object), std::forward<F>(on_error)), err);
  }

  /// Makes the call and returns a future of the reply, whose get() throws a failure. `future<outcome>()` returns
  /// failures as values, also without exceptions. If the call is not accepted, the future is invalid.
  ///
  /// The future is fulfilled where callbacks run. With delivery::queued a thread must dispatch; that thread
  /// waits by session::dispatch_until(), not by get().
  template <class T = document>
  [[nodiscard]] std::future<T> future(error *err = nullptr) {
    detail::fulfil<T> made = fulfilment<T>();
    std::future<T> result = made.promise.get_future();
    return then(std::move(made), err) ? std::move(result) : std::future<T>();
  }

#if WSLINK_CPP_STOP_TOKEN
  /// As then() above. When a stop is requested, the call completes with code::cancelled; the server still executes it.
  template <class F>
  std::uint64_t then(F &&callback, std::stop_token token, error *err = nullptr) {
    using target = detail::stoppable<std::decay_t<F>>;
    err = err ? err : err_;
    if (!ready(err))
      return 0;
    auto *shared = new target(std::decay_t<F>(std::forward<F>(callback)));
    wslink_session *session = session_;
    std::uint64_t call = start(target::complete, shared, target::unref, err);
    // This object must not be used from here on: a coroutine that owns it may have resumed and destroyed it.
    if (call)
      shared->watch(session, call, std::move(token));
    target::unref(shared);
    return call;
  }
  /// As future() above, but cancelled when a stop is requested.
  template <class T = document>
  [[nodiscard]] std::future<T> future(std::stop_token token, error *err = nullptr) {
    detail::fulfil<T> made = fulfilment<T>();
    std::future<T> result = made.promise.get_future();
    return then(std::move(made), std::move(token), err) ? std::move(result) : std::future<T>();
  }
#endif

#if WSLINK_CPP_COROUTINES
  /// Makes the call and awaits the reply: `document reply = co_await session.request("m", 1)`. Fails if the call fails.
  /// The coroutine resumes where callbacks run. If it is destroyed while it waits, the call is cancelled.
  awaiter operator co_await();
  /// As `co_await request`, with an `err`: `co_await session.request("m", 1).await(&err)`.
  awaiter await(error *err = nullptr);
#if WSLINK_CPP_STOP_TOKEN
  /// As above, but cancelled when a stop is requested.
  awaiter await(std::stop_token token, error *err = nullptr);
#endif
#endif

private:
  friend class session;
  friend class awaiter;
  friend class latest_call;
  friend class detail::latest_state;

  template <std::size_t N>
  request(wslink_session *session, std::string_view method, const item *const (&items)[N])
      : session_(session), method_(method) {
    for (const item *one : items) {
      if (one == &detail::no_item)
        break; // the following parameters have their defaults, too
      if (one->what_ == item::what::failure) {
        err_ = static_cast<error *>(const_cast<void *>(one->object_));
      } else if (one->what_ == item::what::timeout) {
        timeout_ms_ = static_cast<std::uint32_t>(one->size_);
      } else {
        args_.add(*one);
      }
    }
  }

  template <class T>
  static detail::fulfil<T> fulfilment() {
    static_assert(std::is_same_v<T, outcome> || std::is_same_v<T, document>, "a future of document or outcome");
    static_assert(WSLINK_CPP_EXCEPTIONS || std::is_same_v<T, outcome>,
                  "without exceptions only future<outcome>() can report failures");
    return detail::fulfil<T>{};
  }
  bool ready(error *err) {
    if (!args_.failure_)
      return true;
    detail::fail(std::exchange(args_.failure_, error()), err);
    return false;
  }
  wslink_call_options call_options() const noexcept {
    wslink_call_options options = WSLINK_CALL_OPTIONS_INIT;
    options.timeout_ms = timeout_ms_;
    return options;
  }
  std::uint64_t start(wslink_completion_fn completion, void *user, wslink_drop_fn drop, error *err) {
    detail::outlet out(err);
    const wslink_call_options options = call_options();
    std::uint64_t call = 0;
    bool accepted = out.succeeded(wslink_session_call(session_, detail::view_of(method_), args_.c_ptr(), &options,
                                                      completion, user, drop, &call, out.c()));
    return accepted ? call : 0;
  }

  wslink_session *session_;
  std::string method_;
  args args_;
  std::uint32_t timeout_ms_ = 0;
  error *err_ = nullptr;
};

#if WSLINK_CPP_COROUTINES

/// The awaiter of a reply, for `co_await`. Made by request.
class [[nodiscard]] awaiter {
public:
  awaiter(awaiter &&) = delete;
  awaiter &operator=(awaiter &&) = delete;
  /// Cancels the call if it has not completed.
  ~awaiter() {
    if (shared_->phase.exchange(phase::abandoned) == phase::waiting) {
      wslink_session_cancel(shared_->session, shared_->call);
    }
  }
  /// Always false: the call is made in await_suspend().
  bool await_ready() const noexcept { return false; }
  /// Makes the call.
  bool await_suspend(std::coroutine_handle<> coroutine) {
    std::shared_ptr<shared_state> shared = shared_;
    shared->coroutine = coroutine;
    shared->session = request_.session_;
    shared->phase = phase::waiting;
    error refused;
    std::uint64_t call = start(
        [shared](outcome &&what) {
          shared->what = std::move(what);
          if (shared->phase.exchange(phase::done) == phase::waiting)
            shared->coroutine.resume();
        },
        &refused);
    // The coroutine may have resumed on another thread and destroyed this object: only local variables are used from
    // here on.
    if (call) {
      shared->call = call;
      return true;
    }
    shared->what = outcome(std::move(refused));
    shared->phase = phase::done;
    return false;
  }
  /// The reply, or the failure.
  document await_resume() { return shared_->what.take(err_); }

private:
  friend class request;
  enum class phase { fresh, waiting, done, abandoned };
  struct shared_state {
    std::coroutine_handle<> coroutine;
    std::atomic<awaiter::phase> phase{awaiter::phase::fresh};
    wslink_session *session = nullptr;
    std::uint64_t call = 0;
    outcome what;
  };

  awaiter(request &&made, error *err)
      : request_(std::move(made)), err_(err ? err : request_.err_), shared_(std::make_shared<shared_state>()) {}

  template <class F>
  std::uint64_t start(F &&done, error *refused) {
#if WSLINK_CPP_STOP_TOKEN
    if (token_.stop_possible())
      return request_.then(std::forward<F>(done), std::move(token_), refused);
#endif
    return request_.then(std::forward<F>(done), refused);
  }

  request request_;
  error *err_;
#if WSLINK_CPP_STOP_TOKEN // libc++ 14 to 19 has coroutines and no stop tokens
  awaiter(request &&made, std::stop_token &&token, error *err) : awaiter(std::move(made), err) {
    token_ = std::move(token);
  }
  std::stop_token token_;
#endif
  std::shared_ptr<shared_state> shared_;
};

#if WSLINK_CPP_STOP_TOKEN
inline awaiter request::await(std::stop_token token, error *err) {
  return awaiter(std::move(*this), std::move(token), err);
}
#endif
inline awaiter request::await(error *err) { return awaiter(std::move(*this), err); }
inline awaiter request::operator co_await() { return await(); }

#endif // WSLINK_CPP_COROUTINES

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_CALL_HPP
