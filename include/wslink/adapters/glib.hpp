/// @file
/// wslink with GLib (2.40 and later): a GMainContext runs the callbacks, also in GTK and GStreamer programs, and
/// received data becomes GBytes without a copy. Not part of wslink.hpp; a program that includes it links glib-2.0
/// itself.
///
///     #include <wslink/adapters/glib.hpp>
///
///     wslink::config config("ws://localhost:8080/ws");
///     wslink::glib::dispatcher dispatcher;
///     wslink::session session = dispatcher.make_session(config);
///     g_main_loop_run(loop); // callbacks run here

#ifndef WSLINK_ADAPTERS_GLIB_HPP
#define WSLINK_ADAPTERS_GLIB_HPP

#include <glib.h>

#include "../event_source.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {
namespace detail {

/// Makes a GSource ready, from any thread.
class glib_waker {
public:
  /// Sets the source; nullptr for none.
  void set_target(GSource *target) {
    const std::lock_guard<std::mutex> lock(mutex_);
    target_ = target;
  }
  /// Makes the source ready, if there is one.
  void wake() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (target_)
      g_source_set_ready_time(target_, 0);
  }

private:
  std::mutex mutex_;
  GSource *target_ = nullptr;
};

/// A GSource that runs the callbacks of one session. GLib keeps a reference to it while it is dispatched, so a callback
/// may destroy the dispatcher.
struct glib_source {
  GSource base;
  event_source *events;

  static GSource *make(const session &of) {
    static GSourceFuncs functions = {nullptr, nullptr, dispatch, finalize, nullptr, nullptr};
    GSource *made = g_source_new(&functions, sizeof(glib_source));
    g_source_set_name(made, "wslink");
    reinterpret_cast<glib_source *>(made)->events = new event_source(of);
    return made;
  }
  static gboolean dispatch(GSource *source, GSourceFunc, gpointer) {
    g_source_set_ready_time(source, -1); // before run(), so that new events make the source ready again
    reinterpret_cast<glib_source *>(source)->events->run([source] { return !g_source_is_destroyed(source); });
    return G_SOURCE_CONTINUE;
  }
  static void finalize(GSource *source) { delete reinterpret_cast<glib_source *>(source)->events; }
};

} // namespace detail

/// GLib: the adapter of `wslink/adapters/glib.hpp`.
namespace glib {

/// Runs the callbacks of a session in a GMainContext, on the thread that iterates it. Use it, and end the session, on
/// that thread, or when the context is not iterated. It may be destroyed inside a callback.
///
/// - **It uses the wakeup function** of the config and not the descriptor: Windows has no descriptor, and no system
///   call is needed while the queue is not empty. An idle session costs nothing.
/// - **The session belongs to the program**, which may move and end it, also inside its callbacks.
/// - **Without a dispatcher** (destroyed or stopped, or while no loop runs) events stay in the queue: all completions,
///   and publications by the overflow policy of their subscription. session::dispatch() can still run them.
/// - **A loop inside a callback** (g_main_loop_run()) runs all other sources, but not this session, because
///   dispatching is not reentrant. Its events run when the callback has returned.
/// - **Exceptions** that leave a callback never propagate through GLib: they are passed to the hook of
///   set_exception_hook(). Without a hook the program ends by std::terminate.
class dispatcher {
public:
  /// For a context; nullptr: that of this thread (g_main_context_get_thread_default(), or the one of the main loop).
  /// Keeps a reference to the context. Sources with a lower `priority` run first.
  explicit dispatcher(GMainContext *context = nullptr, int priority = G_PRIORITY_DEFAULT) noexcept
      : context_(context ? g_main_context_ref(context) : g_main_context_ref_thread_default()), priority_(priority) {}
  dispatcher(const dispatcher &) = delete;
  dispatcher &operator=(const dispatcher &) = delete;
  ~dispatcher() {
    stop();
    g_main_context_unref(context_);
  }

  /// Makes a session that is not connected; its callbacks run in the context. Sets the wakeup function of the
  /// config, whose delivery must not be delivery::io_thread. A dispatcher serves one session: this calls stop() for an
  /// earlier one.
  session make_session(config &options, error *err = nullptr) {
    error failed;
    const auto waker = std::make_shared<detail::glib_waker>();
    session made = detail::make_woken_session(
        options, [waker] { waker->wake(); }, failed);
    if (failed) {
      detail::fail(std::move(failed), err);
      return made;
    }
    stop();
    waker_ = waker;
    source_ = detail::glib_source::make(made);
    g_source_set_priority(source_, priority_);
    g_source_attach(source_, context_);
    waker_->set_target(source_);
    if (err)
      err->clear();
    return made;
  }
  /// Stops running callbacks, including those of events that are already in the queue. The session does not end.
  void stop() noexcept {
    if (!source_)
      return;
    waker_->set_target(nullptr);
    g_source_destroy(source_);
    g_source_unref(std::exchange(source_, nullptr));
  }

private:
  GMainContext *context_;
  int priority_;
  std::shared_ptr<detail::glib_waker> waker_;
  GSource *source_ = nullptr;
};

/// Received binary data as GBytes, without a copy: the GBytes own the buffer, on any thread. The caller owns one
/// reference (g_bytes_unref()).
inline GBytes *bytes(buffer data) noexcept {
  const std::uint8_t *first = data.data();
  const std::size_t size = data.size();
  auto *owner = const_cast<wslink_buffer *>(data.release());
  return g_bytes_new_with_free_func(first, size, detail::unref_buffer, owner);
}
/// GBytes as an argument: sent as binary data without a copy. The library keeps a reference until it does not need them
/// any more.
inline lent_bytes by_reference(GBytes *data) noexcept {
  gsize size = 0;
  const void *first = g_bytes_get_data(data, &size);
  const auto release = [](void *user) { g_bytes_unref(static_cast<GBytes *>(user)); };
  return lent_bytes(first, size, release, g_bytes_ref(data));
}

} // namespace glib
} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_ADAPTERS_GLIB_HPP
