/// @file
/// Callables of C++ as callbacks of C: exceptions do not propagate into C, and each callable needs at most one
/// allocation.

#ifndef WSLINK_CALLBACK_HPP
#define WSLINK_CALLBACK_HPP

#include <chrono>
#include <deque>
#include <limits>
#include <memory>
#include <type_traits>

#include "buffer.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// Checks whether the object of a callback still exists: functions such as `then(object, callback)`
/// run the callback only if it does. This header has it for std::weak_ptr, the Qt adapter for pointers to QObject.
/// Specialise it for other handles, with a constructor that takes the handle, and with `lock()`. The result of `lock()`
/// converts to true if the object exists, and may keep the object while the callback runs.
template <class Context, class Enable = void>
class guard;

/// For an object of a std::shared_ptr, which is kept while the callback runs. Any thread.
template <class T>
class guard<std::weak_ptr<T>> {
public:
  /// Does not keep the object.
  explicit guard(std::weak_ptr<T> object) noexcept : object_(std::move(object)) {}
  /// The object, if it exists.
  std::shared_ptr<T> lock() const noexcept { return object_.lock(); }

private:
  std::weak_ptr<T> object_;
};

namespace detail {

template <class Context, class = void>
inline constexpr bool has_guard = false;
template <class Context>
inline constexpr bool has_guard<Context, std::void_t<decltype(sizeof(guard<Context>))>> = true;
/// Enables overloads with a parameter for the object of the callback.
template <class Context>
using if_guard = std::enable_if_t<has_guard<std::decay_t<Context>>>;

/// A callable that does nothing if its object does not exist any more.
template <class Context, class F>
class only_with {
public:
  template <class Object, class G>
  only_with(Object &&object, G &&callback)
      : guard_(std::forward<Object>(object)), callback_(std::forward<G>(callback)) {}
  template <class... Args>
  void operator()(Args &&...what) {
    if (const auto object = guard_.lock())
      callback_(std::forward<Args>(what)...);
  }

private:
  guard<Context> guard_;
  F callback_;
};
template <class Context, class F>
only_with(Context, F) -> only_with<Context, F>;

/// Exceptions of callbacks that dispatch() will rethrow.
using thrown_list = std::deque<std::exception_ptr>;

/// Receives the exceptions that leave a callback on this thread; null outside of dispatch().
WSLINK_CPP_VISIBLE inline thread_local thrown_list *thrown_here = nullptr;

/// The nesting depth of functions on this thread in which nothing may wait for this thread: callbacks, unsubscribe().
WSLINK_CPP_VISIBLE inline thread_local unsigned no_wait_depth = 0;

/// Increments no_wait_depth in a scope.
class no_wait_scope {
public:
  no_wait_scope() noexcept { ++no_wait_depth; }
  no_wait_scope(const no_wait_scope &) = delete;
  no_wait_scope &operator=(const no_wait_scope &) = delete;
  ~no_wait_scope() { --no_wait_depth; }
};

inline void take_exception(std::exception_ptr thrown) {
  if (exception_hook hook = on_exception.load()) {
    hook(std::move(thrown));
  } else if (thrown_here) {
    thrown_here->push_back(std::move(thrown));
  } else {
    std::terminate();
  }
}

/// Runs code of the application inside a callback of C.
template <class Code>
void guarded(Code &&run) noexcept {
  no_wait_scope inside;
#if WSLINK_CPP_EXCEPTIONS
  try {
    run();
  } catch (...) {
    take_exception(std::current_exception());
  }
#else
  run();
#endif
}

/// As guarded(), for callbacks whose exceptions dispatch() must not rethrow.
template <class Code>
void guarded_alone(Code &&run) noexcept {
  thrown_list *outer = std::exchange(thrown_here, nullptr);
  guarded(std::forward<Code>(run));
  thrown_here = outer;
}

/// The wslink_drop_fn of an object on the heap. Its destructor may end sessions and subscriptions.
template <class T>
void destroy(void *user) noexcept {
  no_wait_scope inside;
  delete static_cast<T *>(user);
}

/// The wslink_drop_fn of a reference to a buffer.
inline void unref_buffer(void *user) noexcept { wslink_buffer_unref(static_cast<const wslink_buffer *>(user)); }

/// The wslink_drop_fn of a callable that releases memory.
template <class F>
struct callable {
  static void release(void *user) noexcept {
    guarded_alone([&] { (*static_cast<F *>(user))(); });
    destroy<F>(user);
  }
};

/// Milliseconds for C, rounded up; at least 1, because 0 has special meanings there.
template <class Rep, class Period>
std::uint32_t to_ms(std::chrono::duration<Rep, Period> time) noexcept {
  constexpr std::uint32_t most = (std::numeric_limits<std::uint32_t>::max)();
  if (time <= time.zero())
    return 1;
  if (time >= std::chrono::duration<double, std::milli>(most))
    return most;
  return static_cast<std::uint32_t>(std::chrono::ceil<std::chrono::milliseconds>(time).count());
}

} // namespace detail
} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_CALLBACK_HPP
