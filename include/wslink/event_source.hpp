/// @file
/// The common part of the adapters for event loops. Not part of wslink.hpp.

#ifndef WSLINK_EVENT_SOURCE_HPP
#define WSLINK_EVENT_SOURCE_HPP

#include "session.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// Runs the callbacks of a session in an event loop. Does not own the session; stays valid when the session is moved,
/// and does nothing when it has ended.
///
/// Another thread must not end the session while run() runs. A callback may end it, and so may the thread of
/// the event loop at any time.
class event_source {
public:
  /// No session.
  event_source() noexcept = default;
  /// The events of a session.
  explicit event_source(const session &of) noexcept : link_(of.link_) {}

  /// Whether the session has not ended.
  explicit operator bool() const noexcept { return link_ && link_->get(); }

  /// Runs the callback of one queued event on this thread; false if the queue is empty. Does nothing inside a callback
  /// of the same session; the wakeup function is called again after that callback if the queue is not empty.
  ///
  /// Does not throw: an exception of a callback is passed to the hook of set_exception_hook(). Without a hook the
  /// program ends by std::terminate, because the stack frames of an event loop must not be unwound.
  bool run_one() const noexcept {
    wslink_session *session = link_ ? link_->get() : nullptr;
    if (!session)
      return false;
    // This object must not be used from here on: the callback may destroy it.
    detail::thrown_list *outer = std::exchange(detail::thrown_here, nullptr);
    const std::int32_t count = wslink_session_dispatch(session, 1, 0, nullptr);
    detail::thrown_here = outer;
    return count > 0;
  }
  /// One iteration of an event loop: runs callbacks of queued events while `go_on()` is true, which is called before
  /// each. Stops after 100, so that other events are not delayed; the wakeup function is called if the queue is not
  /// empty then.
  template <class GoOn>
  void run(GoOn go_on) const noexcept {
    const event_source copy = *this; // a callback may destroy this one
    for (int remaining = 100; remaining > 0 && go_on() && copy.run_one(); --remaining) {
    }
  }

private:
  std::shared_ptr<detail::session_link> link_;
};

namespace detail {

/// Makes a session with the wakeup function `wake`; empty after a failure.
template <class Wake>
session make_woken_session(config &options, Wake wake, error &failed) {
  options.on_wakeup(std::move(wake), &failed);
  if (!failed) {
    session made(options, &failed);
    if (!failed)
      made.dispatch(std::chrono::milliseconds(0), 1,
                    &failed); // the queue is empty: only checks that dispatch is allowed
    if (!failed)
      return made;
  }
  return session();
}

} // namespace detail
} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_EVENT_SOURCE_HPP
