/// @file
/// Launchers: HTTP services that start servers.

#ifndef WSLINK_LAUNCHER_HPP
#define WSLINK_LAUNCHER_HPP

#include "args.hpp"
#include "config.hpp"

#include <initializer_list>
#include <string>
#include <vector>

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// A session that a launcher has opened, or told about: where its server is. Any thread may read it.
///
/// An **empty** one (moved from, or left by a failure) has empty texts and an empty config().
class launched {
public:
  /// Empty.
  launched() noexcept = default;
  /// Leaves `other` empty.
  launched(launched &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  /// Leaves `other` empty.
  launched &operator=(launched &&other) noexcept {
    launched moved(std::move(other));
    std::swap(handle_, moved.handle_);
    return *this;
  }
  launched(const launched &) = delete;
  launched &operator=(const launched &) = delete;
  ~launched() { wslink_launched_free(handle_); }

  /// Takes ownership of a C object.
  static launched from_c(wslink_launched *handle) noexcept {
    launched made;
    made.handle_ = handle;
    return made;
  }
  /// The C object, borrowed.
  wslink_launched *c_ptr() const noexcept { return handle_; }
  /// Whether there is a session.
  explicit operator bool() const noexcept { return handle_ != nullptr; }

  /// The id of the session at the launcher; empty if the launcher has told none.
  std::string id() const { return wslink_launched_id(handle_); }
  /// Where the server is: a `ws` or `wss` URL. It may hold a token.
  std::string url() const { return wslink_launched_url(handle_); }
  /// The whole answer of the launcher, a map. It has the secret of the server, if the launcher tells one.
  document answer() const noexcept { return document::share_c(wslink_launched_document(handle_)); }
  /// The config for a session with the server: that of the launcher, with URL and secret of the server. Headers and
  /// credentials are only kept for a server on the launcher's host, and not for one without TLS if the launcher has
  /// TLS. For ten seconds after the launcher's answer, a session that finds nobody listening tries again.
  wslink::config config(error *err = nullptr) const {
    wslink_config *made = nullptr;
    detail::outlet out(err);
    out.succeeded(wslink_config_new_launched(handle_, &made, out.c()));
    return wslink::config::from_c(made);
  }

private:
  wslink_launched *handle_ = nullptr;
};

/// A launcher: an HTTP service that starts servers (`python -m wslink.launcher`).
///
///     wslink::launcher institute("https://host/paraview/");
///     wslink::launched server = institute.open({{"application", "visualizer"}});
///     wslink::session session(server.config());
///     session.connect();
///
/// open(), status() and close() wait for the service, which may take half a minute; use a thread for which that is no
/// harm. Any thread may use it. The setters return the launcher, so that they can be chained.
class launcher {
public:
  /// A launcher at an `http` or `https` URL. Without a path, it gets the usual one, `/paraview/`. Empty after a failure
  /// that `err` received.
  explicit launcher(const std::string &url, error *err = nullptr) {
    const config all = options(url, err);
    if (all.c_ptr())
      create(all, err);
  }
  /// A launcher with options(), which are copied: headers, credentials, proxy, TLS, log and connect timeout for its
  /// requests, and everything for its sessions. Empty after a failure that `err` received.
  explicit launcher(const config &options, error *err = nullptr) { create(options, err); }
  /// The default config for a launcher at a URL. No session can be made of it.
  static config options(const std::string &url, error *err = nullptr) {
    wslink_config *made = nullptr;
    if (url.find('\0') != url.npos) {
      detail::fail(error(code::argument, "the URL contains a NUL character"), err);
      return config::from_c(made);
    }
    detail::outlet out(err);
    out.succeeded(wslink_config_new_launcher(url.c_str(), &made, out.c()));
    return config::from_c(made);
  }
  /// Leaves `other` empty.
  launcher(launcher &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  /// Leaves `other` empty.
  launcher &operator=(launcher &&other) noexcept {
    launcher moved(std::move(other));
    std::swap(handle_, moved.handle_);
    return *this;
  }
  launcher(const launcher &) = delete;
  launcher &operator=(const launcher &) = delete;
  /// No thread may be using it.
  ~launcher() { wslink_launcher_free(handle_); }

  /// The C launcher, borrowed.
  wslink_launcher *c_ptr() const noexcept { return handle_; }
  /// Whether there is a launcher.
  explicit operator bool() const noexcept { return handle_ != nullptr; }

  /// Sets how long the launcher may take for an answer after it is connected. It answers when the server is ready, or
  /// has not become ready within the launcher's own limit. Default: 2 minutes.
  template <class Rep, class Period>
  launcher &timeout(std::chrono::duration<Rep, Period> time, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_launcher_set_timeout(handle_, detail::to_ms(time), e); });
  }
  /// Sets the delays before further attempts of open(). An attempt follows if the launcher could not be reached, or
  /// refused with a status that may not last, such as 503 because all resources are taken. A request that may have
  /// started a server is not repeated. Default: none, so that there is one attempt.
  launcher &retry_delays(const std::vector<std::chrono::milliseconds> &delays, error *err = nullptr) {
    std::vector<std::uint32_t> ms;
    for (std::chrono::milliseconds delay : delays)
      ms.push_back(delay.count() <= 0 ? 0 : detail::to_ms(delay));
    return set(err, [&](auto **e) { return wslink_launcher_set_retry_delays(handle_, ms.data(), ms.size(), e); });
  }
  /// Sets a callback for the attempts of open(): `void(std::uint32_t attempt, const wslink::error& reason)`, with the
  /// number of the attempt, beginning with 1, and why the one before failed (an empty error for the first one). Runs on
  /// the thread that opens, before the delay.
  template <class F>
  launcher &on_progress(F &&callback, error *err = nullptr) {
    using target = std::decay_t<F>;
    // The C function takes ownership, also if it fails.
    auto *kept = new target(std::forward<F>(callback));
    return set(err, [&](auto **e) {
      return wslink_launcher_on_progress(handle_, run_progress<target>, kept, detail::destroy<target>, e);
    });
  }

  /// Has the launcher start a server, and waits until it is ready. The members of the request are pairs of
  /// name and value; `application` is the name of what to start. Fails with code::launcher and the launcher's own
  /// words, code::timeout, code::cancelled, or an error of connecting.
  launched open(std::initializer_list<entry> members, error *err = nullptr) const {
    wslink::args all;
    for (const entry &member : members)
      all.keyword(member.key).add(member.value);
    return open(std::move(all), err);
  }
  /// As above. The members were added as keyword arguments, step by step or as JSON text (args::add_json_keywords()).
  launched open(wslink::args members, error *err = nullptr) const {
    if (members.failure()) {
      detail::fail(members.failure().clone(), err);
      return {};
    }
    return get(err, [&](auto **made, auto **e) { return wslink_launcher_open(handle_, members.c_ptr(), made, e); });
  }
  /// Asks for the session with this id. Most launchers do not allow that (`WSLINK_LAUNCHER_GET=1` in their environment
  /// does).
  launched status(const std::string &id, error *err = nullptr) const {
    if (has_nul(id, err))
      return {};
    return get(err, [&](auto **made, auto **e) { return wslink_launcher_status(handle_, id.c_str(), made, e); });
  }
  /// Has the launcher end the server of the session with this id. Most launchers do not allow that
  /// (`WSLINK_LAUNCHER_DELETE=1` in their environment does); their servers end some time after their last client has
  /// left.
  void close(const std::string &id, error *err = nullptr) const {
    if (has_nul(id, err))
      return;
    detail::outlet out(err);
    out.succeeded(wslink_launcher_close(handle_, id.c_str(), out.c()));
  }
  /// Ends the functions of this launcher that wait on other threads, with code::cancelled. A server whose start was
  /// requested may still be started.
  void cancel() const noexcept { wslink_launcher_cancel(handle_); }

private:
  void create(const config &options, error *err) {
    set(err, [&](wslink_error **e) { return wslink_launcher_new(options.c_ptr(), &handle_, e); });
  }
  static bool has_nul(const std::string &id, error *err) {
    if (id.find('\0') == id.npos)
      return false;
    detail::fail(error(code::argument, "the id contains a NUL character"), err);
    return true;
  }
  template <class F>
  static void run_progress(void *user, std::uint32_t attempt, const wslink_error *reason) noexcept {
    detail::guarded_alone([&] { (*static_cast<F *>(user))(attempt, error::copy_of(reason)); });
  }
  template <class Setter>
  launcher &set(error *err, Setter setter) {
    detail::outlet out(err);
    out.succeeded(setter(out.c()));
    return *this;
  }
  template <class Getter>
  static launched get(error *err, Getter getter) {
    wslink_launched *made = nullptr;
    detail::outlet out(err);
    out.succeeded(getter(&made, out.c()));
    return launched::from_c(made);
  }

  wslink_launcher *handle_ = nullptr;
};

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_LAUNCHER_HPP
