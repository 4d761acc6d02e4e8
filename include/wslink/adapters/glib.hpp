/// @file
/// wslink with GLib (2.40 and later): callbacks run by a GMainContext, so also by GTK and GStreamer programs, and
/// received data as GBytes without a copy. Not part of wslink.hpp; a program that includes it links glib-2.0 itself.
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
class glib_bell {
public:
  /// From now on it is for this source.
  void hang(GSource *to) {
    const std::lock_guard<std::mutex> lock(mutex_);
    to_ = to;
  }
  /// Makes the source ready, if there is one.
  void ring() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (to_)
      g_source_set_ready_time(to_, 0);
  }

private:
  std::mutex mutex_;
  GSource *to_ = nullptr;
};

/// A GSource that runs the callbacks of one session. GLib keeps it while it is dispatched, whatever a callback does.
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
    g_source_set_ready_time(source, -1); // before: what comes from now on makes it ready again
    reinterpret_cast<glib_source *>(source)->events->run([source] { return !g_source_is_destroyed(source); });
    return G_SOURCE_CONTINUE;
  }
  static void finalize(GSource *source) { delete reinterpret_cast<glib_source *>(source)->events; }
};

} // namespace detail

/// GLib: the adapter of `wslink/adapters/glib.hpp`.
namespace glib {

/// Runs the callbacks of a session in a GMainContext, on the thread that iterates it. Use it, and end the session, on
/// that thread, or when the context is not iterated. Destroying it anywhere, also inside a callback, is fine.
///
/// - **Woken by the wakeup function** of the config and not by a descriptor: it works on Windows too, where there is no
///   descriptor, and needs no system call while events wait already. An idle session costs nothing.
/// - **The session belongs to the program**, which may move it and end it, inside its own callbacks too.
/// - **Without dispatcher** (destroyed or stopped first, or while no loop runs) what comes waits: completions always,
///   publications as their subscription says. session::dispatch() still runs it.
/// - **A loop inside a callback** (g_main_loop_run() in it) goes on with all sources but this session, because
///   dispatching is not reentrant. Its events come when the callback has returned.
/// - **Exceptions** that leave a callback never pass through GLib: they go to the hook of set_exception_hook(), and
///   without one the program ends by std::terminate.
class dispatcher {
public:
  /// For a context; nullptr: that of this thread (g_main_context_get_thread_default(), or the one of the main loop).
  /// The context is kept. Sources with a lower number of `priority` run first.
  explicit dispatcher(GMainContext *context = nullptr, int priority = G_PRIORITY_DEFAULT) noexcept
      : context_(context ? g_main_context_ref(context) : g_main_context_ref_thread_default()), priority_(priority) {}
  dispatcher(const dispatcher &) = delete;
  dispatcher &operator=(const dispatcher &) = delete;
  ~dispatcher() {
    stop();
    g_main_context_unref(context_);
  }

  /// Makes a session that is not connected yet; its callbacks run in the context. Takes the wakeup function of the
  /// config, which must not choose delivery::io_thread. A dispatcher serves one session: the one made before is left as
  /// by stop().
  session make_session(config &options, error *err = nullptr) {
    error failed;
    const auto bell = std::make_shared<detail::glib_bell>();
    session made = detail::make_woken_session(
        options, [bell] { bell->ring(); }, failed);
    if (failed) {
      detail::fail(std::move(failed), err);
      return made;
    }
    stop();
    bell_ = bell;
    source_ = detail::glib_source::make(made);
    g_source_set_priority(source_, priority_);
    g_source_attach(source_, context_);
    bell_->hang(source_);
    if (err)
      err->clear();
    return made;
  }
  /// Runs no more callbacks, also of those that wait already. The session goes on.
  void stop() noexcept {
    if (!source_)
      return;
    bell_->hang(nullptr);
    g_source_destroy(source_);
    g_source_unref(std::exchange(source_, nullptr));
  }

private:
  GMainContext *context_;
  int priority_;
  std::shared_ptr<detail::glib_bell> bell_;
  GSource *source_ = nullptr;
};

/// Received binary data as GBytes, not copied: they keep the buffer, on any thread. The caller owns one reference
/// (g_bytes_unref()).
inline GBytes *bytes(buffer data) noexcept {
  const std::uint8_t *first = data.data();
  const std::size_t size = data.size();
  auto *owner = const_cast<wslink_buffer *>(data.release());
  return g_bytes_new_with_free_func(first, size, detail::unref_buffer, owner);
}
/// GBytes as an argument: sent as binary data from where they lie, with a reference of their own until the library
/// needs them no more.
inline lent_bytes by_reference(GBytes *data) noexcept {
  gsize size = 0;
  const void *first = g_bytes_get_data(data, &size);
  const auto give_back = [](void *user) { g_bytes_unref(static_cast<GBytes *>(user)); };
  return lent_bytes(first, size, give_back, g_bytes_ref(data));
}

} // namespace glib
} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_ADAPTERS_GLIB_HPP
