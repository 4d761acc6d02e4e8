/// @file
/// What the adapters for event loops have in common. Not part of wslink.hpp.

#ifndef WSLINK_EVENT_SOURCE_HPP
#define WSLINK_EVENT_SOURCE_HPP

#include "session.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// A session as an event loop sees it: something that may have events, and that may be gone. Does not own the session,
/// follows it when it is moved, and does nothing when it has ended.
///
/// The session must not be ended by another thread while run() runs; ending it inside a callback, or on the thread of
/// the event loop at any time, is fine.
class event_source {
public:
  /// No session.
  event_source() noexcept = default;
  /// The events of a session.
  explicit event_source(const session &of) noexcept : link_(of.link_) {}

  /// Whether the session is still there.
  explicit operator bool() const noexcept { return link_ && link_->get(); }

  /// Runs one callback that waits, on this thread; false if none waits. Does nothing inside a callback of the same
  /// session: what waits comes to its turn after that callback, and the wakeup function is called again then.
  ///
  /// No exception passes: those of callbacks go to the hook of set_exception_hook(), and without one end the program by
  /// std::terminate, because frames of an event loop must not be unwound.
  bool run_one() const noexcept {
    wslink_session *session = link_ ? link_->get() : nullptr;
    if (!session)
      return false;
    // Nothing of this object is used from here on: the callback may destroy it.
    detail::thrown_list *outer = std::exchange(detail::thrown_here, nullptr);
    const std::int32_t count = wslink_session_dispatch(session, 1, 0, nullptr);
    detail::thrown_here = outer;
    return count > 0;
  }
  /// One turn of an event loop: runs callbacks that wait as long as `go_on()` is true, which is looked at before each.
  /// Ends after 100, so that other events have their turn; the wakeup function is called if more wait.
  template <class GoOn>
  void run(GoOn go_on) const noexcept {
    const event_source copy = *this; // a callback may destroy this one
    for (int left = 100; left > 0 && go_on() && copy.run_one(); --left) {
    }
  }

private:
  std::shared_ptr<detail::session_link> link_;
};

namespace detail {

/// A session of a config whose wakeup function is `wake`; empty after a failure.
template <class Wake>
session make_woken_session(config &options, Wake wake, error &failed) {
  options.on_wakeup(std::move(wake), &failed);
  if (!failed) {
    session made(options, &failed);
    if (!failed)
      made.dispatch(std::chrono::milliseconds(0), 1, &failed); // nothing waits yet: says whether it may be done at all
    if (!failed)
      return made;
  }
  return session::from_c(nullptr);
}

} // namespace detail
} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_EVENT_SOURCE_HPP
