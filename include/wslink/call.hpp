/// @file
/// One call, in the style that suits: waiting, with a callback, as a future, as an awaitable.

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
inline outcome outcome_of(const wslink_document *reply, const wslink_error *failure);
}

/// What became of a call: a reply, or why there is none.
class outcome {
public:
  /// Neither, as after take().
  outcome() noexcept = default;
  /// A reply.
  explicit outcome(document &&reply) noexcept : reply_(std::move(reply)) {}
  /// A failure.
  explicit outcome(error &&why) noexcept : failure_(std::move(why)) {}
  /// Leaves `other` with neither.
  outcome(outcome &&other) noexcept : reply_(other.own()), failure_(std::move(other.failure_)) {}
  /// Leaves `other` with neither.
  outcome &operator=(outcome &&other) noexcept {
    document reply = other.own();
    give_back();
    reply_ = std::move(reply);
    failure_ = std::move(other.failure_);
    return *this;
  }
  ~outcome() { give_back(); }

  /// Whether there is a reply.
  explicit operator bool() const noexcept { return static_cast<bool>(reply_); }
  /// Why there is none; no error if there is one.
  const error &failure() const noexcept { return failure_; }
  /// The value of the reply. Fails with the failure. Valid as long as the document.
  value result(error *err = nullptr) const & {
    settle(err);
    return reply_.result();
  }
  /// The value of the reply as a T, as value::get(). Fails with the failure.
  template <class T>
  T get(error *err = nullptr) const & {
    return settle(err) ? reply_.result().get<T>(err) : T{};
  }
  /// As above; a view would point into a document that is gone.
  template <class T>
  T get(error *err = nullptr) && {
    static_assert(!detail::is_borrowed<T>::value, "keep the outcome in a variable, and the view will be valid");
    return settle(err) ? reply_.result().get<T>(err) : T{};
  }
  /// Takes the reply out. Fails with the failure.
  document take(error *err = nullptr) {
    settle(err);
    return own();
  }

private:
  friend outcome detail::outcome_of(const wslink_document *reply, const wslink_error *failure);

  /// For a callback: most only read the reply, so it becomes an owner when it is taken or moved, and not before.
  explicit outcome(const wslink_document *borrowed) noexcept : reply_(document::from_c(borrowed)), borrowed_(true) {}
  document own() noexcept {
    return std::exchange(borrowed_, false) ? document::share_c(reply_.release()) : std::move(reply_);
  }
  void give_back() noexcept {
    if (std::exchange(borrowed_, false))
      reply_.release();
  }
  bool settle(error *err) const {
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

/// Whether a callable, such as `[this]`, goes into the pointer that C hands on, and needs no memory of its own.
template <class F>
inline constexpr bool
    fits_pointer = sizeof(F) == sizeof(void *) && alignof(F) <= alignof(void *) &&
                   std::conjunction_v<std::is_trivially_copyable<F>, std::has_unique_object_representations<F>>;

/// The completion of a call with such a callable. It is called once: nobody sees that it is a copy.
template <class F>
void complete_inside(void *user, const wslink_document *reply, const wslink_error *failure) noexcept {
  alignas(F) unsigned char copy[sizeof(F)];
  std::memcpy(copy, &user, sizeof(F));
  complete<F>(std::launder(reinterpret_cast<F *>(copy)), reply, failure);
}

/// Fulfils a promise of a document (failures as exceptions) or of an outcome.
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
/// A callable with the std::stop_callback that cancels its call. Owned by the completion and by whoever starts it.
template <class F>
class stoppable {
public:
  explicit stoppable(F &&f) : f_(std::move(f)) {}

  static void complete(void *user, const wslink_document *reply, const wslink_error *failure) noexcept {
    auto *self = static_cast<stoppable *>(user);
    // From here on nobody else touches the stop callback; a running one is waited for.
    if (self->phase_.exchange(phase::over) == phase::armed)
      self->on_stop_.reset();
    guarded([&] { self->f_(outcome_of(reply, failure)); });
  }
  static void unref(void *user) noexcept {
    auto *self = static_cast<stoppable *>(user);
    if (self->owners_.fetch_sub(1) == 1)
      destroy<stoppable>(self);
  }
  /// Called once, when the call was accepted.
  void arm(wslink_session *session, std::uint64_t call, std::stop_token &&token) {
    session_ = session;
    call_ = call;
    if (phase_.load() != phase::fresh)
      return;
    on_stop_.emplace(std::move(token), cancel{this});
    phase fresh = phase::fresh;
    // Over meanwhile: the completion has left the stop callback alone.
    if (!phase_.compare_exchange_strong(fresh, phase::armed))
      on_stop_.reset();
  }

private:
  enum class phase { fresh, armed, over };
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

/// A call that is not made yet: method, arguments, timeout. Made by session::request(); ends with one of
/// - wait(): waits, and returns the reply;
/// - then(): a callable gets the outcome;
/// - future(): a std::future gets the reply;
/// - `co_await`: a coroutine gets the reply (C++20).
///
/// Each makes the call, so that the session must still be there, and takes the arguments: kept, and filled again by
/// arguments(), it serves for the next call, which then prepares nothing anew. A call that was accepted has
/// exactly one outcome: the reply, the error of the server, or why there is no reply (timeout, cancelled, connection
/// lost, closed).
class request {
public:
  /// Leaves `other` without arguments.
  request(request &&other) noexcept = default;
  /// Leaves `other` without arguments.
  request &operator=(request &&other) noexcept = default;

  /// How long the call may take; without it, as long as the connection lives.
  template <class Rep, class Period>
  request &timeout(std::chrono::duration<Rep, Period> after) noexcept {
    timeout_ms_ = detail::to_ms(after);
    return *this;
  }
  /// Further arguments.
  args &arguments() noexcept { return args_; }

  /// Calls and waits for the reply. Allowed everywhere but on the I/O thread (code::reentrant). Nothing is
  /// dispatched meanwhile.
  document wait(error *err = nullptr) {
    err = err ? err : err_;
    if (!ready(err))
      return document();
    detail::outlet out(err);
    const wslink_document *reply = nullptr;
    const wslink_call_options options = call_options();
    out.check(wslink_session_call_wait(session_, detail::view_of(method_), args_.c_ptr(), &options, &reply, out.c()));
    return document::from_c(reply);
  }

  /// Calls; `callback(outcome&&)` gets the outcome, where callbacks run, never from inside this function. Returns the
  /// id for session::cancel(); 0 after a failure, and then the callback is never called.
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

  /// Calls, and returns a future of the reply; a failure is what its get() throws. `future<outcome>()` gives failures
  /// as values, and is the one to use without exceptions. Invalid after a failure of the call itself.
  ///
  /// The future is fulfilled where callbacks run: with delivery::queued, somebody has to dispatch; the thread
  /// that does so waits by session::dispatch_until(), not by get().
  template <class T = document>
  std::future<T> future(error *err = nullptr) {
    detail::fulfil<T> made = fulfilment<T>();
    std::future<T> result = made.promise.get_future();
    return then(std::move(made), err) ? std::move(result) : std::future<T>();
  }

#if WSLINK_CPP_STOP_TOKEN
  /// As above; the call is completed as code::cancelled when a stop is requested. The server goes on with it.
  template <class F>
  std::uint64_t then(F &&callback, std::stop_token token, error *err = nullptr) {
    using target = detail::stoppable<std::decay_t<F>>;
    err = err ? err : err_;
    if (!ready(err))
      return 0;
    auto *shared = new target(std::decay_t<F>(std::forward<F>(callback)));
    wslink_session *session = session_;
    std::uint64_t call = start(target::complete, shared, target::unref, err);
    // Nothing of this object is used from here on: a coroutine that holds it may have gone on already.
    if (call)
      shared->arm(session, call, std::move(token));
    target::unref(shared);
    return call;
  }
  /// As above; cancelled when a stop is requested.
  template <class T = document>
  std::future<T> future(std::stop_token token, error *err = nullptr) {
    detail::fulfil<T> made = fulfilment<T>();
    std::future<T> result = made.promise.get_future();
    return then(std::move(made), std::move(token), err) ? std::move(result) : std::future<T>();
  }
#endif

#if WSLINK_CPP_COROUTINES
  /// Awaits the reply: `document reply = co_await session.request("m", 1)`. Fails as the call does. The coroutine goes
  /// on where callbacks run. A coroutine that is destroyed while it waits cancels the call.
  awaiter operator co_await();
  /// The same with what `co_await request` has no place for: `co_await session.request("m", 1).await(&err)`.
  awaiter await(error *err = nullptr);
#if WSLINK_CPP_STOP_TOKEN
  /// The same, cancelled when a stop is requested.
  awaiter await(std::stop_token token, error *err = nullptr);
#endif
#endif

private:
  friend class session;
  friend class awaiter;

  template <std::size_t N>
  request(wslink_session *session, std::string_view method, const item *const (&items)[N])
      : session_(session), method_(method) {
    for (const item *one : items) {
      if (one == &detail::no_item)
        break; // nor is any given after it
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
                  "without exceptions only future<outcome>() can tell about failures");
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
    bool accepted = out.check(wslink_session_call(session_, detail::view_of(method_), args_.c_ptr(), &options,
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

/// What `co_await` needs to wait for a reply. Made by request.
class awaiter {
public:
  awaiter(awaiter &&) = delete;
  awaiter &operator=(awaiter &&) = delete;
  /// Cancels the call if its outcome did not come yet.
  ~awaiter() {
    if (shared_->phase.exchange(phase::abandoned) == phase::waiting) {
      wslink_session_cancel(shared_->session, shared_->call);
    }
  }
  /// Never: the outcome comes later.
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
          if (shared->phase.exchange(phase::over) == phase::waiting)
            shared->coroutine.resume();
        },
        &refused);
    // The coroutine may have gone on, on another thread: only what is local is used from here on.
    if (call) {
      shared->call = call;
      return true;
    }
    shared->what = outcome(std::move(refused));
    shared->phase = phase::over;
    return false;
  }
  /// The reply, or the failure.
  document await_resume() { return shared_->what.take(err_); }

private:
  friend class request;
  enum class phase { fresh, waiting, over, abandoned };
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
#if WSLINK_CPP_STOP_TOKEN // not in every library that has coroutines: libc++ 14 to 19
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
