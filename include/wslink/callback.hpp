/// @file
/// How callables of C++ are called by C: no exception passes, no allocation but one.

#ifndef WSLINK_CALLBACK_HPP
#define WSLINK_CALLBACK_HPP

#include <chrono>
#include <deque>
#include <limits>
#include <type_traits>

#include "buffer.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {
namespace detail {

/// Exceptions of callbacks that dispatch() has to rethrow.
using thrown_list = std::deque<std::exception_ptr>;

/// Where exceptions go that leave a callback on this thread; null outside of dispatch().
WSLINK_CPP_VISIBLE inline thread_local thrown_list *thrown_here = nullptr;

/// How deep this thread is inside of functions that must not wait for this thread: callbacks, unsubscribe().
WSLINK_CPP_VISIBLE inline thread_local unsigned no_wait_depth = 0;

/// Makes no_wait_depth count.
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

/// Runs code of the application that C has called.
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

/// As guarded(), where no dispatch() can rethrow.
template <class Code>
void guarded_alone(Code &&run) noexcept {
  thrown_list *outer = std::exchange(thrown_here, nullptr);
  guarded(std::forward<Code>(run));
  thrown_here = outer;
}

/// The wslink_drop_fn of an object on the heap. Destructors may end sessions and subscriptions.
template <class T>
void destroy(void *user) noexcept {
  no_wait_scope inside;
  delete static_cast<T *>(user);
}

/// The wslink_drop_fn of a further owner of a buffer.
inline void unref_buffer(void *user) noexcept { wslink_buffer_unref(static_cast<const wslink_buffer *>(user)); }

/// What C calls for a callable that gives memory back.
template <class F>
struct callable {
  static void release(void *user) noexcept {
    guarded_alone([&] { (*static_cast<F *>(user))(); });
    destroy<F>(user);
  }
};

/// Milliseconds for C, rounded up; at least 1, because 0 has meanings of its own there.
template <class Rep, class Period>
std::uint32_t to_ms(std::chrono::duration<Rep, Period> time) noexcept {
  constexpr std::uint32_t most = std::numeric_limits<std::uint32_t>::max();
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
